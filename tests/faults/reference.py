"""What a spec trains to: by the trainer alone, once a session for each spec, or as a service has stored it."""

import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from sqlalchemy.orm import Session

from app.store import ensembles, metrics, snapshots
from trainer import data, snapshot
from trainer.errors import TrainerError
from trainer.events import EnsembleScored, EpochFinished, SnapshotTaken, StepsFinished
from trainer.parsing import parse
from trainer.train import train

EPOCH_FIELDS = (
    *("epoch", "step", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    "learning_rate",
)
"""What does not depend on the time that it took."""


@dataclass
class Reference:
    """What a training has to show: epochs by `EPOCH_FIELDS`, each step's values, each snapshot file's hash."""

    epochs: list[tuple[float, ...]] = field(default_factory=list)
    series: dict[str, list[float]] = field(default_factory=lambda: {"loss": [], "learning_rate": []})
    snapshots: list[str] = field(default_factory=list)
    accuracy: float | None = None


def of(spec: Mapping[str, Any], epochs: int | None = None) -> Reference:
    """The reference of a spec, on the CPU with one thread, as the workers of the tests train.

    With `epochs` only that far, where a job has not come farther; or up to where the training fails.
    """
    return _trained(json.dumps(spec, sort_keys=True), epochs)


def stored(session: Session, job_id: str) -> Reference:
    """What the database has of a job."""
    found = Reference()
    found.epochs = [tuple(getattr(row, name) for name in EPOCH_FIELDS) for row in metrics.epochs(session, job_id)]
    for name in found.series:
        found.series[name] = metrics.series(session, job_id, name).values.tolist()
    found.snapshots = [one.sha256 for one in snapshots.of_job(session, job_id)]
    ensemble = ensembles.of_job(session, job_id)
    found.accuracy = ensemble.accuracy if ensemble else None
    return found


@cache
def _trained(spec: str, epochs: int | None) -> Reference:
    found = Reference()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder, suppress(TrainerError):
            path = Path(folder) / "file"
            for event in train(parse(spec), data.load("mnist5k"), device=torch.device("cpu")):
                match event:
                    case EpochFinished():
                        found.epochs.append(tuple(getattr(event, name) for name in EPOCH_FIELDS))
                        if event.epoch == epochs:
                            break
                    case StepsFinished():
                        found.series["loss"].extend(event.losses)
                        found.series["learning_rate"].extend(event.learning_rates)
                    case SnapshotTaken():
                        snapshot.write(path, event.weights, event.provenance)
                        found.snapshots.append(sha256(path.read_bytes()).hexdigest())
                    case EnsembleScored():
                        found.accuracy = event.scores.accuracy
    finally:
        torch.set_num_threads(threads)
    return found
