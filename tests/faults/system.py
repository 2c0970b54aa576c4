"""The whole service as processes of this machine, every connection through a proxy, to be broken and healed again."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import httpx
from sqlalchemy import make_url, text

from app.client import Client
from app.store import engine as engines
from app.store import ids
from app.store.engine import read, write
from tests.faults.postgres import Postgres
from tests.faults.proxy import Proxy
from tests.faults.service import SECONDS, Service
from tests.servers import Api, Template, Valkey, Worker, await_true
from tests.shop import clear

MARK = "ANNEALER_TEST_SYSTEM"
"""In the environment of all that a system starts, so that what is left of it can be found."""

LEASE_SECONDS = 2.0
RESTING_SECONDS = 0.2
RESTING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'idle in transaction'
    AND clock_timestamp() - state_change > make_interval(secs => :seconds)
"""


class System(Service):
    """API, broker, database and workers. What a test breaks, `heal` mends for the next."""

    def __init__(self, folder: Path, template: Template, postgres: Postgres | None, **api_settings: str) -> None:
        self.folder = folder
        self.mark = ids.new("data")
        self.postgres = postgres
        self.front, self.broker, self.database = Proxy(), Proxy(), Proxy()
        self._copied = template.copy(folder)
        self.database_url = self._copied.__enter__()
        self.valkey = Valkey(folder)
        self.broker.target = ("127.0.0.1", make_url(self.valkey.url).port or 0)
        self.proxied_broker_url = make_url(self.valkey.url).set(port=self.broker.port).render_as_string()
        if postgres:
            self.database.target = postgres.socket
        self.workers: list[Worker] = []
        self._unusual: set[Worker] = set()
        self.api: Api | None = None
        self._api_settings = api_settings
        super().__init__(engines.create(self.database_url), Client(f"http://127.0.0.1:{self.front.port}"))
        self.http = httpx.Client(base_url=self.client.url, timeout=20)

    def __enter__(self) -> Self:
        self.heal()
        return self

    def __exit__(self, *_: object) -> None:
        for proxy in (self.front, self.broker, self.database):
            proxy.heal()
        for part in (*self.workers, self.api):
            if part:
                with suppress(ProcessLookupError):
                    part.signal(signal.SIGCONT)
                part.kill()
        self.client.close()
        self.http.close()
        self.valkey.stop()
        self.engine.dispose()
        self._copied.__exit__(None, None, None)
        for proxy in (self.front, self.broker, self.database):
            proxy.close()

    # Parts.

    @property
    def scratch(self) -> Path:
        """The folder that the workers' scratch folders are in."""
        return self.folder / "scratch"

    @property
    def worker(self) -> Worker:
        """The first worker."""
        return self.workers[0]

    @property
    def proxied_url(self) -> str:
        """The database as the parts reach it: SQLite has no connection that could be cut."""
        if self.postgres is None:
            return self.database_url
        url = make_url(self.database_url).set(host="127.0.0.1", port=self.database.port, query={})
        return url.render_as_string(hide_password=False)

    def heal(self, workers: int = 1) -> None:
        """Everything runs, with so many idle workers and no jobs."""
        self.mend()
        self._clear()
        self.start_api()
        usual = [worker for worker in self.workers if worker not in self._unusual][:workers]
        for worker in self.workers:
            if worker not in usual:
                worker.stop()
        self.workers = usual
        while len(self.workers) < workers:
            self.start_worker()

    def mend(self) -> None:
        """What others connect to runs and is reached, and no worker is stopped."""
        for proxy in (self.front, self.broker, self.database):
            proxy.heal()
        if self.postgres:
            self.postgres.thaw()
            self.postgres.start()
        if not is_running(self.valkey.pid):
            self.valkey.start()
        for worker in [*self.workers]:
            worker.signal(signal.SIGCONT)
            if not is_running(worker.pid):
                self.kill(worker)

    def start_api(self) -> None:
        """Start the API unless it runs."""
        if self.api is None or not is_running(self.api.pid):
            with self._environment():
                self.api = Api(self.folder, self.proxied_url, self.proxied_broker_url, **self._api_settings)
            self.front.target = ("127.0.0.1", make_url(self.api.url).port or 0)

    def start_worker(
        self, *, wrapper: Sequence[str] = (), environment: dict[str, str] | None = None, **settings: str
    ) -> Worker:
        """Start one more worker and wait until it takes jobs."""
        worker = self.launch_worker(wrapper=wrapper, environment=environment, **settings)
        worker.await_ready()
        return worker

    def launch_worker(
        self, *, wrapper: Sequence[str] = (), environment: dict[str, str] | None = None, **settings: str
    ) -> Worker:
        """Start one more worker."""
        quick = {"lease_seconds": f"{LEASE_SECONDS:g}", "beat_seconds": "0.1", "grace_seconds": "5"}
        folder = self.folder / ids.new("work")
        folder.mkdir()
        where = {"scratch": str(self.scratch)} | quick | settings
        with self._environment(environment):
            worker = Worker(folder, self.proxied_url, self.proxied_broker_url, wrapper=wrapper, **where)
        self.workers.append(worker)
        if wrapper or environment or settings:
            self._unusual.add(worker)
        return worker

    def kill(self, worker: Worker) -> None:
        """Kill a worker, which is then no part of the system any more."""
        worker.kill()
        self.workers.remove(worker)

    def await_child(self) -> int:
        """Wait for the one training of the first worker; its process id."""
        await_true(lambda: len(self.worker.children()) == 1, SECONDS)
        return self.worker.children()[0]

    def freeze(self, worker: Worker) -> None:
        """Stop a worker where it holds no lock; SQLite's would be kept while it is, PostgreSQL's `GONE_SECONDS`."""
        if self.postgres is None:
            with self.writing():
                _stop(worker)
            return
        _stop(worker)
        while self._has_open_transaction():
            worker.signal(signal.SIGCONT)
            time.sleep(0.1)
            _stop(worker)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold SQLite's write lock, once nobody else does. `sqlite3.OperationalError` after ten seconds."""
        connection = sqlite3.connect(make_url(self.database_url).database or "", isolation_level=None, timeout=10)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
            connection.close()

    def processes(self) -> set[int]:
        """All that has been started for this system and lives, with its children."""
        mark = f"{MARK}={self.mark}".encode()
        found = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.add(int(entry.name))
        return found

    def _clear(self) -> None:
        with write(self.engine) as session:
            clear(session)

    def _has_open_transaction(self) -> bool:
        """Whether somebody on PostgreSQL rests in the middle of a transaction."""
        time.sleep(RESTING_SECONDS)
        with read(self.engine) as session:
            return bool(session.scalar(text(RESTING), {"seconds": RESTING_SECONDS / 2}))

    @contextmanager
    def _environment(self, more: dict[str, str] | None = None) -> Iterator[None]:
        before = os.environ.copy()
        os.environ.update({MARK: self.mark, **(more or {})})
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def parents(pid: int) -> Iterator[int]:
    """The process, its parent and so on."""
    while pid > 1:
        yield pid
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return


def _stop(worker: Worker) -> None:
    """Send SIGSTOP and wait for its effect: until the kernel gets round to it, threads go on."""
    worker.signal(signal.SIGSTOP)
    await_true(lambda: _is_stopped(worker.pid), SECONDS)


def _is_stopped(pid: int) -> bool:
    """Whether all threads of the process are."""
    try:
        return all("State:\tT" in (task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return False
