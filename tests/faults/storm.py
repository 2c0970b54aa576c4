"""`python -m tests.faults.storm`: two workers, a hundred jobs, and for ten minutes everything that can go wrong.

The schedule is drawn from a seed, which is printed: the same seed injects the same kinds of faults at the same times.
What they hit depends on what runs then. Parts that end are started again, as a supervisor of services would do. At the
end everything is mended, all jobs must become final, and the judge of the fault tests looks at each of them. Exit
status 1 when a promise was broken.
"""

import argparse
import faulthandler
import heapq
import itertools
import os
import random
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from app.client import ClientError, Refused
from app.store.engine import read
from app.store.models import Attempt
from app.store.models import Worker as WorkerRow
from app.store.states import Status
from tests.faults.judge import Breach, breaches_of
from tests.faults.postgres import Postgres
from tests.faults.system import TINY, System, is_running
from tests.servers import Template, Worker

WORKERS = 2
GAP_SECONDS = (1.0, 6.0)
"""Between two faults."""
SETTLE_SECONDS = 900.0
SPECS = tuple(TINY | {"name": f"storm {epochs}", "epochs": epochs} for epochs in (3, 6, 12, 24))
TAKEN_UP = {"requeued", "released", "resumed", "paused", *(status for status in Status if status.is_final)}
"""Events that tell that an attempt which was disturbed has been seen to."""


class Storm:
    """One run: what is to happen and when, what was hit, and what was promised to whom."""

    def __init__(self, system: System, seed: int, seconds: float, jobs: int) -> None:
        self.system = system
        self.dice = random.Random(seed)
        self.seconds = seconds
        self.began = time.monotonic()
        self.specs: dict[str, dict[str, Any]] = {}
        self.cancelled: set[str] = set()
        self.faults: Counter[str] = Counter()
        self.hits: list[tuple[str, float]] = []
        self._struck: set[str] = set()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._tickets = itertools.count()
        self._submitters: list[threading.Thread] = []
        for _ in range(jobs):
            self._at(self.dice.uniform(0, seconds * 0.95), self._submit)
        self._draw_faults()

    def run(self) -> None:
        """Let it all happen."""
        while self._agenda:
            at, _, act = heapq.heappop(self._agenda)
            while (left := self.began + at - time.monotonic()) > 0:
                time.sleep(min(left, 0.2))
                self._supervise()
            act()

    def settle(self) -> bool:
        """Mend everything and wait for all jobs; whether all became final in time."""
        self.system.mend()
        self._supervise()
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            self._supervise()
            left = [job for job in self.specs if not self.system.status(job).is_final]
            if not left and not any(submitter.is_alive() for submitter in self._submitters):
                return True
            for job in left:
                if self.system.status(job) is Status.PAUSED:
                    self._resume(job)
            time.sleep(0.2)
        for job in left:
            print(f"{job} is {self.system.status(job)}:\n{self.system.story(job)}")
        return False

    def recoveries(self) -> list[float]:
        """Seconds from each fault that hit a running job to the event that tells that it was seen to."""
        found = []
        for job, since in self.hits:
            times = [event.created_at.timestamp() for event in self.system.events(job) if event.kind in TAKEN_UP]
            found += [min(after for after in times if after > since) - since] if max(times) > since else []
        return found

    # The schedule.

    def _at(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (seconds, next(self._tickets), act))

    def _later(self, low: float, high: float, act: Callable[[], None]) -> None:
        self._at(time.monotonic() - self.began + self.dice.uniform(low, high), act)

    def _draw_faults(self) -> None:
        kinds = [
            *(self._kill_child, self._crash_child, self._hang_child, self._kill_worker, self._kill_worker_group),
            *(self._drain_worker, self._hurry_worker, self._stop_worker_for_a_moment, self._stop_worker_for_long),
            *(self._kill_api, self._restart_api, self._kill_broker, self._flush_broker, self._lose_broker),
            *(self._cancel, self._cancel, self._pause, self._pause, self._cut_connections),
        ]
        if self.system.postgres:
            kinds += [self._restart_database, self._kill_database, self._lose_database, self._stall_database]
        at = self.dice.uniform(*GAP_SECONDS)
        while at < self.seconds:
            self._at(at, self._injecting(self.dice.choice(kinds)))
            at += self.dice.uniform(*GAP_SECONDS)

    def _injecting(self, fault: Callable[[], None]) -> Callable[[], None]:
        def inject() -> None:
            name = fault.__name__.strip("_").replace("_", " ")
            print(f"{time.monotonic() - self.began:6.1f} s  {name}", flush=True)
            self.faults[name] += 1
            fault()

        return inject

    def _supervise(self) -> None:
        """Start again what has ended, as the supervisor of a deployment does."""
        self.system.start_api()
        for worker in [*self.system.workers]:
            if not is_running(worker.pid):
                self.system.kill(worker)
        while len(self.system.workers) < WORKERS:
            self.system.launch_worker(silence_seconds="5", store_patience_seconds="3")

    # Users.

    def _submit(self) -> None:
        spec = self.dice.choice(SPECS)
        key = f"storm-{self.dice.getrandbits(64):x}"

        def until_it_is_answered() -> None:
            while True:
                try:
                    job = self.system.client.submit(spec, idempotency_key=key)
                except ClientError:
                    time.sleep(0.2)
                else:
                    self.specs[job.id] = spec
                    return

        submitter = threading.Thread(target=until_it_is_answered, daemon=True)
        submitter.start()
        self._submitters.append(submitter)

    def _cancel(self) -> None:
        if job := self._some([job for job in self.specs if job not in self.cancelled]):
            self._ask(self.system.client.cancel, job) and self.cancelled.add(job)

    def _pause(self) -> None:
        if job := self._some([job for job, _ in self._running()]):
            self._ask(self.system.client.pause, job)
            self._later(0.5, 5, lambda: self._resume(job))

    def _resume(self, job: str) -> None:
        if not self._ask(self.system.client.resume, job):
            self._later(1, 1, lambda: self._resume(job))

    def _ask(self, act: Callable[[str], object], job: str) -> bool:
        """Whether there was an answer, be it a refusal."""
        try:
            act(job)
        except Refused:
            return act != self.system.client.cancel
        except ClientError:
            return False
        return True

    # Children and workers.

    def _strike(self, number: signal.Signals) -> None:
        """A signal for the training of a job that was spared so far: twice at one step would end it, as it should."""
        running = [(job, worker) for job, worker in self._running() if job not in self._struck and worker.children()]
        if chosen := self._some(running):
            job, worker = chosen
            self._struck.add(job)
            for child in worker.children():
                os.kill(child, number)
                self.hits.append((job, time.time()))

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
        if worker := self._some(self.system.workers):
            worker.signal(signal.SIGTERM)

    def _hurry_worker(self) -> None:
        if worker := self._some(self.system.workers):
            worker.signal(signal.SIGTERM)
            time.sleep(0.1)
            worker.signal(signal.SIGTERM)

    def _stop_worker_for_a_moment(self) -> None:
        if worker := self._some(self.system.workers):
            worker.signal(signal.SIGSTOP)
            self._later(0.1, 1, lambda: worker.signal(signal.SIGCONT))

    def _stop_worker_for_long(self) -> None:
        if worker := self._victim():
            worker.signal(signal.SIGSTOP)
            self._later(3, 8, lambda: worker.signal(signal.SIGCONT))

    def _victim(self) -> Worker | None:
        """A worker, of whose jobs it is noted that they were hit."""
        victim = self._some(self.system.workers)
        self.hits += [(job, time.time()) for job, worker in self._running() if worker is victim]
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
        self._later(1, 10, self.system.broker.heal)

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
        self._later(1, 8, self.system.database.heal)

    def _stall_database(self) -> None:
        self.system.database.stall()
        self._later(1, 5, self.system.database.heal)

    def _running(self) -> list[tuple[str, Worker]]:
        """Jobs that run, with their workers."""
        query = select(Attempt.job_id, WorkerRow.pid).join(WorkerRow, WorkerRow.id == Attempt.worker_id)
        with read(self.system.engine) as session:
            pids = {pid: job for job, pid in session.execute(query.where(Attempt.outcome.is_(None)))}
        return [(pids[worker.pid], worker) for worker in self.system.workers if worker.pid in pids]

    def _some(self, things: Sequence[Any]) -> Any:
        return self.dice.choice(things) if things else None


def verdict(storm: Storm) -> list[Breach]:
    """What the judge found, and jobs that ended otherwise than they should."""
    found = breaches_of(storm.system, storm.specs)
    for job_id in storm.specs:
        job = storm.system.job(job_id)
        allowed = {Status.SUCCEEDED, Status.CANCELLED} if job_id in storm.cancelled else {Status.SUCCEEDED}
        if job.status.is_final and job.status not in allowed:
            found.append(Breach("lost", job_id, f"it is {job.status}: {job.failure_message}"))
    return found


def main() -> int:
    """Run a storm from the command line; the exit status."""
    faulthandler.register(signal.SIGUSR1)
    # So that nothing outlives us: an exit ends what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    options = parser.parse_args()
    print(f"seed {options.seed}: {options.minutes:g} minutes, {options.jobs} jobs, {options.database}", flush=True)
    with tempfile.TemporaryDirectory(prefix="annealer-storm-") as name:
        folder = Path(name)
        if options.database == "sqlite":
            return _weather(System(folder, Template("sqlite", folder, None), None), options)
        with Postgres() as postgres:
            return _weather(System(folder, Template("postgresql", folder, postgres.url), postgres), options)


def _weather(system: System, options: argparse.Namespace) -> int:
    system.api_settings = {"max_attempts": "1000"}
    with system:
        storm = Storm(system, options.seed, options.minutes * 60, options.jobs)
        storm.run()
        print("mending; waiting for all jobs", flush=True)
        storm.settle()
        breaches = verdict(storm)
        for breach in breaches:
            print(breach)
        times = storm.recoveries() or [0.0]
        kinds = Counter(breach.kind for breach in breaches)
        counts = f"lost {kinds['lost']}, doubled {kinds['doubled']}, differing {kinds['differing']}"
        others = kinds["inconsistent"] + kinds["left over"]
        print(
            f"seed {options.seed}: {storm.faults.total()} faults injected, {len(storm.specs)} jobs, {counts}"
            + (f", inconsistent or left over {others}" if others else "")
            + f", recovery p50 {np.percentile(times, 50):.1f} s, p99 {np.percentile(times, 99):.1f} s"
        )
        return 1 if breaches or len(storm.specs) != options.jobs else 0


if __name__ == "__main__":
    sys.exit(main())
