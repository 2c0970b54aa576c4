"""The compose deployment, driven by the `docker` command.

It has a project name, ports, passwords, a key and images of its own, and nothing of them is left at the end.
"""

import os
import secrets
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.client import Client
from app.embedded import free_port
from app.store import engine as engines
from tests.faults.service import Service
from tests.servers import await_true

SOURCE = Path(__file__).parents[3]
UP_SECONDS = 300
# Threads that wait for each other crawl on a busy machine. One job may be hit many times.
SETTINGS = """\
POSTGRES_PASSWORD={password}
REDIS_PASSWORD={password}
ANNEALER_FIRST_KEY={key}
ANNEALER_PORT={port}
ANNEALER_TAG={project}
ANNEALER_WORKER_THREADS=1
ANNEALER_MAX_ATTEMPTS=1000
"""
OVERRIDE = """\
services:
  postgres: {{ports: ["127.0.0.1:{database_port}:5432"]}}
"""
"""So that the judge sees the database."""


@dataclass(frozen=True)
class Container:
    """`id` is also the host name inside; `state` is docker's word."""

    id: str
    service: str
    state: str


class Deployment(Service):
    """Built and started on entering, with so many workers."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.project = f"annealer-storm-{os.getpid()}"
        self._workers = workers
        password, port, database_port = secrets.token_hex(24), free_port(), free_port()
        key = f"ann_{secrets.token_hex(4)}_{secrets.token_hex(16)}"
        self._settings, self._override = folder / "env", folder / "override.yml"
        settings = SETTINGS.format(password=password, key=key, port=port, project=self.project)
        self._settings.write_text(settings + _how_to_build())
        self._override.write_text(OVERRIDE.format(database_port=database_port))
        url = f"postgresql+psycopg://annealer:{password}@127.0.0.1:{database_port}/annealer"
        super().__init__(engines.create(url), Client(f"http://127.0.0.1:{port}", key=key))

    def __enter__(self) -> Self:
        try:
            self._compose("build")
            self._compose("up", "--wait", f"--wait-timeout={UP_SECONDS}", f"--scale=worker={self._workers}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.engine.dispose()
        self._compose("down", "--volumes", "--remove-orphans", "--timeout=5")
        self.docker("image", "rm", f"annealer-api:{self.project}", f"annealer-worker:{self.project}")

    def containers(self, service: str = "", state: str = "") -> list[Container]:
        """Those of a service, or all, in a state, or in any. What runs once is not among them."""
        columns = '{{.ID}} {{.Label "com.docker.compose.service"}} {{.State}}'
        label = f"label=com.docker.compose.project={self.project}"
        rows = self.docker("ps", "--all", "--filter", label, "--format", columns).splitlines()
        found = [Container(*row.split()) for row in rows]
        return [
            one
            for one in found
            if one.service != "migrate" and service in ("", one.service) and state in ("", one.state)
        ]

    def docker(self, *arguments: str) -> str:
        """What the command says. One that is refused, since something else has happened meanwhile, says nothing."""
        return subprocess.run(["docker", *arguments], capture_output=True, text=True, env=_environment()).stdout

    def disconnect(self, container: Container) -> None:
        """Pull its cable out."""
        self.docker("network", "disconnect", self._network, container.id)

    def connect(self, container: Container) -> None:
        """Put it in again, under the name by which the others know it."""
        self.docker("network", "connect", "--alias", container.service, self._network, container.id)

    def mend(self) -> None:
        """Everything runs, is connected and answers."""
        for container in self.containers():
            self.docker("unpause", container.id)
            self.connect(container)
            self.docker("start", container.id)
        await_true(self._answers, UP_SECONDS)

    @property
    def _network(self) -> str:
        return f"{self.project}_default"

    def _answers(self) -> bool:
        with suppress(SQLAlchemyError), self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            return True
        return False

    def _compose(self, *arguments: str) -> None:
        files = ["--env-file", str(self._settings), "--file", "docker-compose.yml", "--file", str(self._override)]
        command: Sequence[str] = ["docker", "compose", "--project-name", self.project, *files, *arguments]
        done = subprocess.run(
            command, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_environment()
        )
        if done.returncode:
            raise RuntimeError(f"docker compose {arguments[0]} failed:\n{done.stdout}")


def _environment() -> dict[str, str]:
    """Without what would be taken for settings of this deployment."""
    ours = ("ANNEALER_", "POSTGRES_", "REDIS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _how_to_build() -> str:
    """What the checkout's own settings say of it."""
    with suppress(FileNotFoundError):
        lines = (SOURCE / ".env").read_text().splitlines()
        return "".join(f"{line}\n" for line in lines if line.startswith("PIP_"))
    return ""
