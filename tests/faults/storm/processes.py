"""A storm over the processes of this machine: signals, and proxies between them."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from sqlalchemy import select

from app.store.engine import read
from app.store.models import Attempt
from app.store.models import Worker as WorkerRow
from tests.faults.judge import Breach, breaches_of
from tests.faults.storm.schedule import WORKERS, Storm
from tests.faults.system import System, is_running
from tests.servers import Worker


class ProcessStorm(Storm[Worker]):
    """Breaks a `System`."""

    def __init__(self, system: System, seed: int, seconds: float, jobs: int) -> None:
        self.system = system
        self._struck: set[str] = set()
        super().__init__(system, seed, seconds, jobs)

    def kinds(self) -> Sequence[Callable[[], None]]:
        """On SQLite there is no server to restart and no connection to cut; it may be busy instead."""
        kinds = [
            *(self._kill_child, self._crash_child, self._hang_child, self._kill_worker, self._kill_worker_group),
            *(self._drain_worker, self._hurry_worker, self._stop_worker_for_a_moment, self._stop_worker_for_long),
            *(self._kill_api, self._restart_api, self._kill_broker, self._flush_broker, self._lose_broker),
            self._cut_connections,
        ]
        if self.system.postgres:
            kinds += [self._restart_database, self._kill_database, self._lose_database, self._stall_database]
        else:
            kinds += [self._keep_database_busy]
        return kinds

    def run(self) -> None:
        # The system's own worker takes a training to hang after a quarter of an hour, longer than a storm lasts.
        for worker in [*self.system.workers]:
            self.system.kill(worker)
        super().run()

    def supervise(self) -> None:
        """Start API and workers again."""
        self.system.start_api()
        for worker in [*self.system.workers]:
            if not is_running(worker.pid):
                self.system.kill(worker)
        while len(self.system.workers) < WORKERS:
            self.system.launch_worker(silence_seconds="5", store_patience_seconds="3")

    def mend(self) -> None:
        """Heal every connection, continue what is stopped."""
        self.system.mend()

    def running(self) -> Sequence[tuple[str, Worker]]:
        """As the database has it."""
        query = select(Attempt.job_id, WorkerRow.pid).join(WorkerRow, WorkerRow.id == Attempt.worker_id)
        with read(self.system.engine) as session:
            jobs = {pid: job for job, pid in session.execute(query.where(Attempt.outcome.is_(None)))}
        return [(jobs[worker.pid], worker) for worker in self.system.workers if worker.pid in jobs]

    def breaches(self) -> list[Breach]:
        """As in the tests of single faults."""
        return breaches_of(self.system, self.specs)

    # Children and workers.

    def _strike(self, number: signal.Signals) -> None:
        """A signal for the training of a job that was spared so far: twice at one step would end it, as it should."""
        running = [(job, worker) for job, worker in self.running() if job not in self._struck and worker.children()]
        if chosen := self.some(running):
            job, worker = chosen
            self._struck.add(job)
            for child in worker.children():
                os.kill(child, number)
                self.hit(job)

    def _kill_child(self) -> None:
        self._strike(signal.SIGKILL)

    def _crash_child(self) -> None:
        self._strike(signal.SIGSEGV)

    def _hang_child(self) -> None:
        self._strike(signal.SIGSTOP)

    def _kill_worker(self) -> None:
        if worker := self._victim():
            worker.kill()

    def _kill_worker_group(self) -> None:
        if worker := self._victim():
            os.killpg(worker.pid, signal.SIGKILL)

    def _drain_worker(self) -> None:
        if worker := self.some(self.system.workers):
            worker.signal(signal.SIGTERM)

    def _hurry_worker(self) -> None:
        if worker := self.some(self.system.workers):
            worker.signal(signal.SIGTERM)
            time.sleep(0.1)
            worker.signal(signal.SIGTERM)

    def _stop_worker_for_a_moment(self) -> None:
        if worker := self.some(self.system.workers):
            worker.signal(signal.SIGSTOP)
            self.later(0.1, 1, lambda: worker.signal(signal.SIGCONT))

    def _stop_worker_for_long(self) -> None:
        if worker := self._victim():
            worker.signal(signal.SIGSTOP)
            self.later(3, 8, lambda: worker.signal(signal.SIGCONT))

    def _victim(self) -> Worker | None:
        """A worker, of whose jobs it is noted that they were hit."""
        victim = self.some(self.system.workers)
        self.hit(*(job for job, worker in self.running() if worker is victim))
        return victim

    # What they depend on.

    def _kill_api(self) -> None:
        assert self.system.api is not None
        self.system.api.kill()

    def _restart_api(self) -> None:
        assert self.system.api is not None
        self.system.api.signal(signal.SIGTERM)

    def _kill_broker(self) -> None:
        self.system.valkey.kill()
        time.sleep(self.dice.uniform(0, 1))
        self.system.valkey.start()

    def _flush_broker(self) -> None:
        self.system.valkey.flush()

    def _lose_broker(self) -> None:
        self.system.broker.refuse()
        self.later(1, 10, self.system.broker.heal)

    def _cut_connections(self) -> None:
        for proxy in (self.system.front, self.system.broker, self.system.database):
            proxy.cut()

    def _restart_database(self) -> None:
        assert self.system.postgres is not None
        self.system.postgres.stop()
        time.sleep(self.dice.uniform(0, 2))
        self.system.postgres.start()

    def _kill_database(self) -> None:
        assert self.system.postgres is not None
        self.system.postgres.kill()
        self.system.postgres.start()

    def _lose_database(self) -> None:
        self.system.database.refuse()
        self.later(1, 8, self.system.database.heal)

    def _stall_database(self) -> None:
        self.system.database.stall()
        self.later(1, 5, self.system.database.heal)

    def _keep_database_busy(self) -> None:
        seconds = self.dice.uniform(0.5, 5)
        # A worker that is stopped may have the lock for longer than anybody waits.
        with suppress(sqlite3.OperationalError), self.system.writing():
            time.sleep(seconds)
