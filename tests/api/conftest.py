"""The API on a real server, with a real broker, on both databases."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import Engine

from app.connection import Connection
from app.embedded import free_port
from app.main import create
from app.settings import Settings
from app.store import attempts, blobs
from app.store.engine import write
from app.store.ensembles import NewEnsemble
from app.store.files import NewFile
from app.store.snapshots import NewSnapshot
from tests.servers import Template, Valkey, await_true
from tests.shop import Shop, clear
from tests.specs import document
from trainer.events import Scores, VoteScores


@dataclass
class Api:
    """A server and a way to call it; `shop` does what a worker would do."""

    url: str
    http: httpx.Client
    shop: Shop

    def submit(self, *, headers: dict[str, str] | None = None, **changes: Any) -> httpx.Response:
        """Post a spec."""
        return self.http.post("/v1/jobs", json=document(**changes), headers=headers)

    def job(self, job_id: str, **headers: str) -> httpx.Response:
        """Get a job."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.get(f"/v1/jobs/{job_id}", headers=named)


@contextmanager
def served(settings: Settings) -> Iterator[tuple[str, Engine]]:
    """A server in a thread; its URL and its engine."""
    app = create(settings)
    port = free_port()
    config = uvicorn.Config(app, port=port, http=Connection, ws="none", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    await_true(lambda: server.started, 10)
    yield f"http://127.0.0.1:{port}", app.state.engine
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def shared(
    request: pytest.FixtureRequest,
    migrated: Callable[[str], Template],
    valkey: Valkey,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Engine]]:
    """A server for all tests, on each database."""
    with migrated(request.param).copy(tmp_path_factory.mktemp("api")) as database_url:
        settings = Settings(
            database_url=database_url, broker_url=valkey.url, max_body_bytes=4096, upload_part_bytes=65536, keys="off"
        )
        with served(settings) as running:
            yield running


@pytest.fixture
def api(shared: tuple[str, Engine], broker_url: str) -> Iterator[Api]:
    """The server with an empty database and an empty broker."""
    url, engine = shared
    with httpx.Client(base_url=url, timeout=20) as http:
        yield Api(url, http, Shop(engine))
    with write(engine) as session:
        clear(session)


@dataclass
class Finished:
    """A job that has succeeded, with three snapshots of which two make the ensemble, and a file."""

    id: str
    weights: bytes


@pytest.fixture
def finished(api: Api, tmp_path: Path) -> Finished:
    """A job that has succeeded."""
    claim = api.shop.claimed(name="done")
    content = bytes(index % 253 for index in range(2_500_000))
    path = tmp_path / "weights"
    path.write_bytes(content)
    scores, origin = Scores(0.75, 0.25, 0.5), {"classes": list("0123456789"), "input_shape": [1, 28, 28]}
    sha256 = blobs.put(api.shop.engine, path)
    api.shop.record(
        claim,
        series={"loss": (list(range(1, 5001)), [1 / step for step in range(1, 5001)])},
        epochs=[
            {
                "epoch": number,
                "step": number * 10,
                "train_loss": 1 / number,
                "train_accuracy": 0.5,
                "validation_loss": 0.25,
                "validation_accuracy": 0.75,
                "learning_rate": 0.1,
                "images_per_second": 1000.0,
                "seconds": 0.5,
            }
            for number in (1, 2, 3, 4)
        ],
        snapshots=[
            NewSnapshot(number, number, 10 * number, scores, origin | {"n": number}, sha256) for number in (1, 2, 3)
        ],
        files=[NewFile("table.csv", "text/csv", len(content), sha256)],
    )
    api.shop.record(
        claim,
        ensemble=NewEnsemble(
            "snapshots",
            [(2, 0.5), (3, 0.5)],
            Scores(0.8, 0.2, 0.4),
            scores,
            geometric_mean=Scores(0.78, 0.22, 0.41),
            majority_vote=VoteScores(0.76, 0.24),
        ),
    )
    api.shop.act(attempts.succeed, claim.job_id, claim.attempt)
    return Finished(claim.job_id, content)
