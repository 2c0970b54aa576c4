"""A storm over the compose deployment: containers are killed, frozen, cut off and told to stop."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.store.engine import read
from app.store.models import Attempt
from app.store.models import Worker as WorkerRow
from tests.faults import reference
from tests.faults.judge import SETTLE_SECONDS, Breach, breaches_in_the_database
from tests.faults.reference import Reference
from tests.faults.storm.deployment import Container, Deployment
from tests.faults.storm.schedule import SPECS, WORKERS, Storm

LOOK_SECONDS = 1.0
"""Between two looks at which containers have ended."""
SHORT = (0.5, 4.0)
PAST_THE_LEASE = (12.0, 25.0)
"""Seconds that a fault lasts."""


class ContainerStorm(Storm[Container]):
    """Breaks a `Deployment`. What every spec trains to is learnt from it first, while nothing happens."""

    def __init__(self, deployment: Deployment, seed: int, seconds: float, jobs: int) -> None:
        self.deployment = deployment
        self._undisturbed: dict[str, Reference] = {}
        self._looked_at = 0.0
        self._healers: list[threading.Timer] = []
        super().__init__(deployment, seed, seconds, jobs)

    def run(self) -> None:
        """Learn, then let it happen."""
        jobs = {spec["name"]: self.deployment.submit(spec) for spec in SPECS}
        self.deployment.await_final(*jobs.values(), seconds=600)
        with read(self.deployment.engine) as session:
            self._undisturbed = {name: reference.stored(session, job) for name, job in jobs.items()}
        super().run()

    def kinds(self) -> Sequence[Callable[[], None]]:
        """Faults of each service."""
        return [
            *(self._kill_worker, self._stop_worker, self._pause_worker, self._pause_worker_past_its_lease),
            *(self._disconnect_worker, self._disconnect_worker_past_its_lease),
            *(self._kill_api, self._restart_api, self._disconnect_api),
            *(self._kill_broker, self._restart_broker, self._pause_broker, self._disconnect_broker),
            *(self._kill_database, self._restart_database, self._pause_database, self._disconnect_database),
        ]

    def supervise(self) -> None:
        """Start containers again that have ended; what was killed by hand docker leaves alone."""
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._looked_at = time.monotonic()
            for container in self.deployment.containers(state="exited"):
                self.deployment.docker("start", container.id)

    def mend(self) -> None:
        """Undo everything now."""
        for healer in self._healers:
            healer.cancel()
        for healer in self._healers:
            healer.join()
        self.deployment.mend()

    def running(self) -> Sequence[tuple[str, Container]]:
        """As the database has it, if it answers: the host of a worker is its container."""
        query = select(Attempt.job_id, WorkerRow.host).join(WorkerRow, WorkerRow.id == Attempt.worker_id)
        try:
            with read(self.deployment.engine) as session:
                jobs = {host: job for job, host in session.execute(query.where(Attempt.outcome.is_(None)))}
        except SQLAlchemyError:
            return []
        workers = self.deployment.containers("worker")
        return [(jobs[worker.id], worker) for worker in workers if worker.id in jobs]

    def breaches(self) -> list[Breach]:
        """What the containers still have, and what the database tells."""
        return [
            *self._left_running(),
            *breaches_in_the_database(self.deployment, self.specs, lambda spec, _: self._undisturbed[spec["name"]]),
        ]

    # What is left over.

    def _left_running(self) -> list[Breach]:
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            found = [breach for worker in self.deployment.containers("worker") for breach in self._left_in(worker)]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.5)

    def _left_in(self, worker: Container) -> Iterator[Breach]:
        listed = self.deployment.docker("top", worker.id, "-eo", "pid,ppid,args").splitlines()[1:]
        parents: Mapping[str, str] = {pid: parent for pid, parent, *_ in map(str.split, listed)}
        servers = [line.split()[0] for line in listed if "multiprocessing.forkserver" in line]
        for pid, parent in parents.items():
            if parent in servers and pid not in servers:
                yield Breach("left over", f"process {pid}", "a training that nobody waits for")
        folders = self.deployment.docker("exec", worker.id, "find", "/scratch", "-mindepth", "1", "-type", "d").split()
        for folder in folders:
            if folder.count("/") > 2:
                yield Breach("left over", worker.id, f"the folder {folder}")
        if len(folders) > WORKERS:
            yield Breach("left over", worker.id, f"{len(folders)} scratch folders: {folders}")

    # Faults.

    def _one(self, service: str) -> Container | None:
        return self.some(self.deployment.containers(service, state="running"))

    def _victim(self) -> Container | None:
        """A worker, of whose job it is noted that it was hit."""
        victim = self._one("worker")
        if victim:
            self.hit(*(job for job, worker in self.running() if worker.id == victim.id))
        return victim

    def _for_some_time(self, seconds: tuple[float, float], undo: Callable[..., Any], *arguments: Any) -> None:
        """In a thread of its own: the database may be what is away, and this one wait for it."""
        healer = threading.Timer(self.dice.uniform(*seconds), undo, arguments)
        healer.daemon = True
        healer.start()
        self._healers.append(healer)

    def _do(self, command: str, container: Container | None) -> None:
        if container:
            self.deployment.docker(command, container.id)

    def _freeze(self, container: Container | None, seconds: tuple[float, float]) -> None:
        if container:
            self.deployment.docker("pause", container.id)
            self._for_some_time(seconds, self.deployment.docker, "unpause", container.id)

    def _cut_off(self, container: Container | None, seconds: tuple[float, float]) -> None:
        if container:
            self.deployment.disconnect(container)
            self._for_some_time(seconds, self.deployment.connect, container)

    def _kill_worker(self) -> None:
        self._do("kill", self._victim())

    def _stop_worker(self) -> None:
        """It takes as long as the drain does."""
        threading.Thread(target=self._do, args=("stop", self._one("worker")), daemon=True).start()

    def _pause_worker(self) -> None:
        self._freeze(self._one("worker"), SHORT)

    def _pause_worker_past_its_lease(self) -> None:
        self._freeze(self._victim(), PAST_THE_LEASE)

    def _disconnect_worker(self) -> None:
        self._cut_off(self._one("worker"), SHORT)

    def _disconnect_worker_past_its_lease(self) -> None:
        self._cut_off(self._victim(), PAST_THE_LEASE)

    def _kill_api(self) -> None:
        self._do("kill", self._one("api"))

    def _restart_api(self) -> None:
        self._do("restart", self._one("api"))

    def _disconnect_api(self) -> None:
        self._cut_off(self._one("api"), SHORT)

    def _kill_broker(self) -> None:
        self._do("kill", self._one("redis"))

    def _restart_broker(self) -> None:
        self._do("restart", self._one("redis"))

    def _pause_broker(self) -> None:
        self._freeze(self._one("redis"), SHORT)

    def _disconnect_broker(self) -> None:
        self._cut_off(self._one("redis"), SHORT)

    def _kill_database(self) -> None:
        self._do("kill", self._one("postgres"))

    def _restart_database(self) -> None:
        self._do("restart", self._one("postgres"))

    def _pause_database(self) -> None:
        self._freeze(self._one("postgres"), SHORT)

    def _disconnect_database(self) -> None:
        self._cut_off(self._one("postgres"), SHORT)
