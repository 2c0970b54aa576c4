"""A worker process as a whole: who it is, what it may run, and whether it is stopping."""

import os
import queue
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
from worker import scratch
from worker.forkserver import Child
from worker.settings import WorkerSettings

log = structlog.get_logger()


@dataclass(frozen=True)
class Station:
    """Shared by the threads of one worker process.

    `slots` holds the free device slots, each a torch device name: a thread that takes one may run a job on it.
    `children` are the trainings that run now.
    """

    engine: Engine
    bell: Bell
    settings: WorkerSettings
    gpus: tuple[str, ...]
    pid: int = field(default_factory=os.getpid)
    id: str = field(default_factory=lambda: ids.new("work"))
    host: str = field(default_factory=socket.gethostname)
    draining: threading.Event = field(default_factory=threading.Event)
    slots: "queue.SimpleQueue[str]" = field(default_factory=queue.SimpleQueue)
    children: set[Child] = field(default_factory=set)

    def __post_init__(self) -> None:
        for slot in range(self.settings.slots):
            self.slots.put(f"cuda:{slot % len(self.gpus)}" if self.gpus else "cpu")

    @property
    def device(self) -> str:
        """The kind of device that jobs run on here."""
        return "cuda" if self.gpus else "cpu"

    @property
    def serves(self) -> tuple[str, ...]:
        """What a spec's `device` may say for its job to run here."""
        return ("auto", "cuda", "cpu") if self.gpus else ("auto", "cpu")

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
