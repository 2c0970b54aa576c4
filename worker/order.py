"""What a child is told: one order at its start, and perhaps a word to stop."""

from dataclasses import dataclass
from pathlib import Path

STOP = b"stop"


@dataclass(frozen=True)
class Order:
    """One training, or one device's part in it. Paths are inside the attempt's scratch folder.

    Of `count` devices this is the one that has `rank`; their processes find each other by the file `meeting`.
    """

    spec: str
    dataset: str
    dataset_sha256: str
    device: str
    rank: int
    count: int
    meeting: Path
    threads: int
    resident_bytes: int | None
    scratch: Path
    checkpoint: Path | None
    snapshots: tuple[Path, ...]
    checkpoint_seconds: float
    report_seconds: float
