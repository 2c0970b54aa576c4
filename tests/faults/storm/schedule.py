"""When what happens: users who submit, cancel and pause, and faults drawn from a seed."""

import heapq
import itertools
import random
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from app.client import ClientError, Refused
from app.store.states import Status
from tests.faults.judge import Breach
from tests.faults.service import TINY, Service

W = TypeVar("W")
"""A worker, as whoever breaks it knows it."""
T = TypeVar("T")

WORKERS = 2
GAP_SECONDS = (1.0, 6.0)
"""Between two faults."""
STUCK_SECONDS = 120.0
"""Without a step of any job: nothing more will come."""
SUPERVISE_SECONDS = 0.2
SPECS = tuple(TINY | {"name": f"storm {epochs}", "epochs": epochs} for epochs in (3, 6, 12, 24))
TAKEN_UP = {"requeued", "released", "resumed", "paused", *(status for status in Status if status.is_final)}
"""Events that tell that an attempt which was disturbed has been seen to."""


class Storm(ABC, Generic[W]):
    """One run: what is to happen and when, what was hit, and what was promised to whom."""

    def __init__(self, service: Service, seed: int, seconds: float, jobs: int) -> None:
        self.service = service
        self.dice = random.Random(seed)
        self.seconds = seconds
        self.began = time.monotonic()
        self.specs: dict[str, dict[str, Any]] = {}
        self.cancelled: set[str] = set()
        self.faults: Counter[str] = Counter()
        self.hits: list[tuple[str, str, float]] = []
        self._fault = ""
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._tickets = itertools.count()
        self._submitters: list[threading.Thread] = []
        for _ in range(jobs):
            self._at(self.dice.uniform(0, seconds * 0.95), self._submit)
        self._draw_faults()

    # What those say who know the parts.

    @abstractmethod
    def kinds(self) -> Sequence[Callable[[], None]]:
        """The faults to draw from. What is in it twice comes twice as often."""

    @abstractmethod
    def supervise(self) -> None:
        """Start again what has ended, as the supervisor of a deployment does."""

    @abstractmethod
    def mend(self) -> None:
        """Undo every fault that has not been undone."""

    @abstractmethod
    def running(self) -> Sequence[tuple[str, W]]:
        """Jobs that run, with their workers."""

    @abstractmethod
    def breaches(self) -> list[Breach]:
        """Every promise that is broken now that all should be over."""

    # The course of things.

    def run(self) -> None:
        """Let it all happen."""
        self.began = time.monotonic()
        while self._agenda:
            at, _, act = heapq.heappop(self._agenda)
            while (left := self.began + at - time.monotonic()) > 0:
                time.sleep(min(left, SUPERVISE_SECONDS))
                self.supervise()
            act()

    def settle(self) -> bool:
        """Mend everything and wait for all jobs; whether all became final before nothing moved any more."""
        self.mend()
        known: list[tuple[Status, int]] = []
        moved_at = time.monotonic()
        while time.monotonic() - moved_at < STUCK_SECONDS:
            self.supervise()
            jobs = {job_id: self.service.job(job_id) for job_id in [*self.specs]}
            left = {job_id: job for job_id, job in jobs.items() if not job.status.is_final}
            if not left and not any(submitter.is_alive() for submitter in self._submitters):
                return True
            for job_id, job in left.items():
                if job.status is Status.PAUSED:
                    self._resume(job_id)
            if known != (known := [(job.status, job.step) for job in jobs.values()]):
                moved_at = time.monotonic()
            time.sleep(SUPERVISE_SECONDS)
        for job_id in left:
            print(f"{job_id} is {self.service.status(job_id)}:\n{self.service.story(job_id)}")
        return False

    def recoveries(self) -> Mapping[str, list[float]]:
        """By fault: seconds from each that hit a running job to the event that tells that it was seen to."""
        found: dict[str, list[float]] = {}
        for fault, job, since in self.hits:
            times = [event.created_at.timestamp() for event in self.service.events(job) if event.kind in TAKEN_UP]
            if after := [time - since for time in times if time > since]:
                found.setdefault(fault, []).append(min(after))
        return found

    # For those who break something.

    def later(self, low: float, high: float, act: Callable[[], None]) -> None:
        """Do something after some seconds."""
        self._at(time.monotonic() - self.began + self.dice.uniform(low, high), act)

    def some(self, things: Sequence[T]) -> T | None:
        """One of them, if there are any."""
        return self.dice.choice(things) if things else None

    def hit(self, *jobs: str) -> None:
        """Note that the fault that is being injected has hit these jobs."""
        for job in jobs:
            print(f"          hits {job}", flush=True)
            self.hits.append((self._fault, job, time.time()))

    def _at(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (seconds, next(self._tickets), act))

    def _draw_faults(self) -> None:
        kinds = [*self.kinds(), self._cancel, self._cancel, self._pause, self._pause]
        at = self.dice.uniform(*GAP_SECONDS)
        while at < self.seconds:
            self._at(at, self._injecting(self.dice.choice(kinds)))
            at += self.dice.uniform(*GAP_SECONDS)

    def _injecting(self, fault: Callable[[], None]) -> Callable[[], None]:
        def inject() -> None:
            self._fault = fault.__name__.strip("_").replace("_", " ")
            print(f"{time.monotonic() - self.began:6.1f} s  {self._fault}", flush=True)
            self.faults[self._fault] += 1
            fault()

        return inject

    # Users.

    def _submit(self) -> None:
        spec = self.dice.choice(SPECS)
        key = f"storm-{self.dice.getrandbits(64):x}"

        def until_it_is_answered() -> None:
            while True:
                try:
                    job = self.service.client.submit(spec, idempotency_key=key)
                except ClientError:
                    time.sleep(0.2)
                else:
                    self.specs[job.id] = spec
                    return

        submitter = threading.Thread(target=until_it_is_answered, daemon=True)
        submitter.start()
        self._submitters.append(submitter)

    def _cancel(self) -> None:
        """A cancel whose answer was lost may have been followed all the same."""
        if job := self.some([job for job in self.specs if job not in self.cancelled]):
            self.cancelled.add(job)
            try:
                self.service.client.cancel(job)
            except Refused:
                self.cancelled.discard(job)
            except ClientError:
                pass

    def _pause(self) -> None:
        if job := self.some([job for job, _ in self.running()]):
            with suppress(ClientError):
                self.service.client.pause(job)
            self.later(0.5, 5, lambda: self._resume(job))

    def _resume(self, job: str) -> None:
        """Until it is answered; a refusal is an answer."""
        try:
            self.service.client.resume(job)
        except Refused:
            pass
        except ClientError:
            self.later(1, 1, lambda: self._resume(job))
