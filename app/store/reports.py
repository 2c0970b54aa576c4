"""What a worker tells of a job: what it has come to, and why it failed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.store.checkpoints import CheckpointRef
from app.store.datasets import PackFile
from app.store.ensembles import MeasuredEnsemble, NewEnsemble
from app.store.files import NewFile
from app.store.snapshots import NewSnapshot
from app.store.states import FailureClass, Phase
from trainer.events import LayersInspected


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed: a stable code, a sentence, a hint, and the step it got to, if that is known."""

    failure_class: FailureClass
    code: str
    message: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    hint: str | None = None
    step: int | None = None


@dataclass(frozen=True)
class Progress:
    """How far a job has come: the epoch in hand, steps done, and its speed since the last report.

    `steps` corrects how many there are in all, where that is found out on the way.
    """

    epoch: int
    step: int
    images_per_second: float | None = None
    steps: int | None = None


@dataclass
class Changes:
    """What a training has reported since the last time, to be stored in one transaction."""

    phase: Phase | None = None
    progress: Progress | None = None
    series: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)
    epochs: list[Mapping[str, Any]] = field(default_factory=list)
    layers: list[LayersInspected] = field(default_factory=list)
    snapshots: list[NewSnapshot] = field(default_factory=list)
    checkpoints: list[CheckpointRef] = field(default_factory=list)
    ensemble: NewEnsemble | None = None
    measured: MeasuredEnsemble | None = None
    pack_files: list[PackFile] = field(default_factory=list)
    manifest: Mapping[str, Any] | None = None
    files: list[NewFile] = field(default_factory=list)
    events: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
