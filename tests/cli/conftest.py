"""The `annealer` command as users call it, beside a running `annealer up`."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.client import Client
from app.embedded import free_port
from tests.servers import Process, await_true
from tests.specs import document

ANNEALER = [str(Path(sys.executable).with_name("annealer"))]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Up(Process):
    """`annealer up` in a folder."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder / "data"
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [*ANNEALER, "up", "--data", str(self.folder), "--port", str(self.port), "--threads", "1"]
        log = folder / "up.log"
        log.unlink(missing_ok=True)
        super().__init__(command, log)
        await_true(lambda: "is ready at" in self.log.read_text(), 60)


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running service."""
    with Up(tmp_path_factory.mktemp("up")) as running:
        yield running


@pytest.fixture(scope="session")
def client(up: Up) -> Iterator[Client]:
    """The Python client of that service."""
    with Client(up.url) as made:
        yield made


@pytest.fixture
def annealer(up: Up, tmp_path: Path) -> Run:
    """Runs the command against that service, in a folder of the test's own."""

    def run(*arguments: object, url: str = up.url) -> "subprocess.CompletedProcess[str]":
        command = [*ANNEALER, *map(str, arguments)]
        environment = {**os.environ, "ANNEALER_URL": url}
        return subprocess.run(command, capture_output=True, text=True, timeout=90, env=environment, cwd=tmp_path)

    return run


@pytest.fixture
def spec_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a spec into a file."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(document(**changes), sort_keys=False))
        return path

    return write
