"""What a child is told: one order at its start, and perhaps a word to stop."""

from dataclasses import dataclass
from pathlib import Path

from trainer.datasets.limits import Limits

STOP = b"stop"


@dataclass(frozen=True)
class Data:
    """The data set that a task needs, which must have this content.

    Its pack lies in `folder`; there is none where it comes with the package.
    """

    name: str
    sha256: str
    folder: Path | None


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


@dataclass(frozen=True)
class PredictionTask:
    """Predict a whole data set with members, files of snapshots, as a spec says."""

    spec: str
    data: Data
    members: tuple[Path, ...]


@dataclass(frozen=True)
class ExportTask:
    """Make one file of members, files of snapshots, as a spec says."""

    spec: str
    members: tuple[Path, ...]


@dataclass(frozen=True)
class ImportTask:
    """Make a data set as a spec says: of a file that was uploaded, or (None) of what everybody knows by name.

    `mirror` is asked first for that. `memory_bytes` and `processor_seconds` are the process's own limits.
    """

    spec: str
    source: Path | None
    mirror: str | None
    limits: Limits
    memory_bytes: int
    processor_seconds: int


Task = TrainingTask | ScoringTask | ImportTask | PredictionTask | ExportTask
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
