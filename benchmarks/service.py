"""A running service for benchmarks: the same programs as in a deployment, on each database."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests import servers

DATABASES = ("sqlite", "postgresql")

WAITING_SPEC = {
    "name": "waits",
    "dataset": "mnist5k",
    "network": {"kind": "convnet", "channels": [32, 64, 128], "batch_norm": {}},
    "schedule": {"kind": "snapshot_cycles", "learning_rate": 0.1, "cycles": 5},
    "epochs": 20,
    "ensemble": {"kind": "snapshots", "last": 3},
}
"""A spec of the usual size."""


@dataclass
class Service:
    """The address of an API, and its database."""

    http: httpx.Client
    database_url: str

    def submit(self, **changes: Any) -> dict[str, Any]:
        """Queue a job; its document."""
        answer = self.http.post("/v1/jobs", json={**WAITING_SPEC, **changes})
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document


@contextmanager
def service(kind: str, *, worker: bool) -> Iterator[Service]:
    """An API with a broker and, with `worker`, an idle worker with its default settings."""
    with tempfile.TemporaryDirectory() as name, database(kind, Path(name)) as database_url:
        folder = Path(name)
        with (
            servers.Valkey(folder) as valkey,
            servers.Api(folder, database_url, valkey.url) as api,
            httpx.Client(base_url=api.url, timeout=60) as http,
        ):
            if not worker:
                yield Service(http, database_url)
                return
            settings = {"ANNEALER_DATABASE_URL": database_url, "ANNEALER_BROKER_URL": valkey.url}
            with servers.Process(servers.WORKER, folder / "worker.log", settings) as process:
                servers.await_true(lambda: "worker ready" in process.log.read_text(), 60)
                yield Service(http, database_url)


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """An empty, up-to-date database of a kind; its URL."""
    if kind == "sqlite":
        with servers.Template(kind, folder, None).copy(folder) as url:
            yield url
        return
    with (
        servers.postgresql() as server,
        servers.Template(kind, folder, server).copy(folder) as url,
    ):
        yield url
