"""What a child is told: one order at its start, and perhaps a word to stop."""

from dataclasses import dataclass
from pathlib import Path

STOP = b"stop"


@dataclass(frozen=True)
class Order:
    """One training. Paths are inside the attempt's scratch folder."""

    spec: str
    dataset: str
    dataset_sha256: str
    device: str
    threads: int
    scratch: Path
    checkpoint: Path | None
    snapshots: tuple[Path, ...]
    checkpoint_seconds: float
    report_seconds: float
