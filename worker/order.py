"""What a child is told: one order at its start, and perhaps a word to stop."""

from dataclasses import dataclass
from pathlib import Path

STOP = b"stop"


@dataclass(frozen=True)
class Data:
    """The data set that a task needs, which must have this content."""

    name: str
    sha256: str


@dataclass(frozen=True)
class TrainingTask:
    """Train what a spec says, from a checkpoint, with the snapshots that were taken before it, or from the start."""

    spec: str
    data: Data
    checkpoint: Path | None
    snapshots: tuple[Path, ...]
    checkpoint_seconds: float
    report_seconds: float


@dataclass(frozen=True)
class ScoringTask:
    """Choose among members, files by the ids of their snapshots, and score them together, as a spec says."""

    spec: str
    data: Data
    members: tuple[tuple[str, Path], ...]


Task = TrainingTask | ScoringTask
"""What is to be done: one type a kind of job, and for each a function of `worker.child`."""


@dataclass(frozen=True)
class Order:
    """One task, or one device's part in it. Paths are inside the attempt's scratch folder.

    Of `count` devices this is the one that has `rank`; their processes find each other by the file `meeting`.
    """

    task: Task
    device: str
    rank: int
    count: int
    meeting: Path
    threads: int
    resident_bytes: int | None
    scratch: Path
