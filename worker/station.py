"""A worker process as a whole: who it is, what it may run, and whether it is stopping."""

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from sqlalchemy import Engine

from app.queue import Bell
from app.store import ids
from trainer.offer import Offer
from worker import scratch
from worker.devices import Devices
from worker.machine import Machine
from worker.memory import Memory
from worker.oom import Blame
from worker.packs import Packs
from worker.settings import WorkerSettings
from worker.team import Team

log = structlog.get_logger()


@dataclass(frozen=True)
class Station:
    """Shared by the threads of one worker process.

    `resting` is set while an operator lets it take no jobs, `draining` once it is to end.
    `teams` are the trainings that run now.
    """

    engine: Engine
    bell: Bell
    settings: WorkerSettings
    machine: Machine
    pid: int = field(default_factory=os.getpid)
    id: str = field(default_factory=lambda: ids.new("work"))
    host: str = field(default_factory=socket.gethostname)
    resting: threading.Event = field(default_factory=threading.Event)
    draining: threading.Event = field(default_factory=threading.Event)
    teams: set[Team] = field(default_factory=set)
    blame: Blame = field(default_factory=Blame)
    devices: Devices = field(init=False)
    packs: Packs = field(init=False)
    memory: Memory = field(init=False)

    def __post_init__(self) -> None:
        devices = Devices(len(self.machine.gpus), self.settings.slots, self.settings.threads_per_job)
        object.__setattr__(self, "devices", devices)
        object.__setattr__(self, "memory", Memory(has_gpus=bool(self.machine.gpus)))
        object.__setattr__(self, "packs", Packs(self.settings.datasets, self.settings.datasets_bytes))

    @property
    def takes_jobs(self) -> bool:
        """Whether it is to run any."""
        return not (self.resting.is_set() or self.draining.is_set())

    @property
    def offers(self) -> dict[str, Offer]:
        """What a job can have here when nothing else runs, by the `device` that its spec says."""
        precisions = self.machine.precisions
        return {
            kind: Offer(most, frozenset(precisions[self.device if kind == "auto" else kind]))
            for kind, most in self.devices.most.items()
        }

    @property
    def device(self) -> str:
        """The kind of device that jobs run on here."""
        return "cuda" if self.machine.gpus else "cpu"

    @property
    def scratch(self) -> Path:
        """This process's folder."""
        return self.settings.scratch / self.id

    def open_scratch(self) -> None:
        """Make the scratch folder, which tells neighbours that we live."""
        scratch.take(self.scratch)

    def neighbours_gone(self) -> Iterator[str]:
        """Workers of this machine that have ended without a word; each is forgotten when the next is asked for."""
        return scratch.abandoned(self.settings.scratch)

    def close_scratch(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.scratch, ignore_errors=True)
