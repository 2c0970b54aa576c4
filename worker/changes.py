"""What a child has reported, as changes for the store."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from app.store.checkpoints import CheckpointRef
from app.store.datasets import PackFile
from app.store.ensembles import MeasuredEnsemble, NewEnsemble
from app.store.files import NewFile
from app.store.reports import Changes, Progress
from app.store.snapshots import NewSnapshot
from app.store.states import Phase
from trainer.datasets.manifest import Manifest
from trainer.events import (
    Advanced,
    CheckpointReady,
    DatasetPacked,
    EnsembleMeasured,
    EnsembleScored,
    EpochFinished,
    FileWritten,
    LayersInspected,
    LintFound,
    NetworkPruned,
    PackFileWritten,
    PhaseStarted,
    SnapshotTaken,
    StepsFinished,
    TrainingStarted,
    ensemble_title,
)
from worker.wire import Message


def changes_of(batch: Sequence[Message], hashes: Mapping[str, str]) -> Changes:
    """One set of changes for messages in order; `hashes` has the blob of each file that they name."""
    changes = Changes()
    for message in batch:
        _add(changes, message, hashes)
    return changes


def _add(changes: Changes, message: Message, hashes: Mapping[str, str]) -> None:
    event = message.event
    match event:
        case PhaseStarted():
            changes.phase = Phase(event.phase)
        case TrainingStarted():
            where = f"from step {event.first_step}" if event.first_step > 1 else "from the start"
            told = f"Training {event.parameters:,} parameters on {event.environment['device']} {where}."
            if event.streamed:
                told += f" Streamed from the host: {' and '.join(event.streamed)} images."
            detail = {**event.environment, "streamed": list(event.streamed)}
            changes.events.append(("training_started", told, detail))
        case Advanced():
            changes.progress = Progress(1, event.done, steps=event.of)
        case StepsFinished():
            _add_steps(changes, event)
        case EpochFinished():
            changes.epochs.append(asdict(event))
        case LayersInspected():
            changes.layers.append(event)
        case LintFound():
            changes.events.append(("lint", event.detail, {"layer": event.layer, "code": event.code}))
        case SnapshotTaken():
            changes.snapshots.append(_snapshot(event, hashes[str(message.file)]))
            average = event.provenance.get("average")
            what = f"averaged weights ({average.upper()})" if average else f"epoch {event.epoch}"
            told = f"Snapshot {event.number} of {what}: accuracy {event.scores.accuracy:.2%}."
            changes.events.append(("snapshot_taken", told, {"number": event.number, **asdict(event.scores)}))
        case NetworkPruned():
            told = f"Pruning {event.round}: {event.sparsity:.2%} of the weights are gone, the rest rewound."
            left = {layer.name: layer.left for layer in event.layers}
            changes.events.append(
                ("network_pruned", told, {"round": event.round, "sparsity": event.sparsity, "left": left})
            )
        case CheckpointReady():
            changes.checkpoints.append(CheckpointRef(event.step, event.epoch, hashes[str(message.file)]))
        case PackFileWritten():
            changes.pack_files.append(PackFile(event.name, hashes[str(message.file)], event.size))
        case DatasetPacked():
            changes.manifest = event.manifest
            changes.events.append(_packed(Manifest.model_validate(event.manifest, strict=False)))
        case FileWritten():
            changes.files.append(NewFile(event.name, event.media_type, event.size, hashes[str(message.file)]))
            told = f"The file {event.name} was made: {event.size:,} bytes."
            changes.events.append(("file_written", told, {"name": event.name, "size": event.size}))
        case EnsembleMeasured():
            changes.measured = MeasuredEnsemble(event.shares, event.report, event.geometric_mean, event.majority_vote)
            chosen = sum(share > 0 for share in event.shares)
            figures = {name: event.report[name] for name in ("accuracy", "error", "negative_log_likelihood")}
            told = f"Ensemble of {chosen}: accuracy {figures['accuracy']:.2%} on {event.report['split']}."
            changes.events.append(("ensemble_scored", told, figures))
        case EnsembleScored():
            members = [(member.snapshot, member.weight) for member in event.members]
            changes.ensemble = NewEnsemble(
                event.kind,
                members,
                event.scores,
                event.single,
                event.geometric_mean,
                event.majority_vote,
                event.averaged,
            )
            title = ensemble_title(event.kind, len(members), event.averaged)
            told = (
                f"{title[0].upper()}{title[1:]}: accuracy {event.scores.accuracy:.2%}, "
                f"the last model alone {event.single.accuracy:.2%}."
            )
            changes.events.append(("ensemble_scored", told, asdict(event.scores)))


def _add_steps(changes: Changes, event: StepsFinished) -> None:
    steps = range(event.first_step, event.first_step + len(event.losses))
    for name, values in (("loss", event.losses), ("learning_rate", event.learning_rates)):
        known_steps, known_values = changes.series.setdefault(name, ([], []))
        known_steps.extend(steps)
        known_values.extend(values)
    changes.progress = Progress(event.epoch, steps[-1], event.images_per_second)


def _packed(manifest: Manifest) -> tuple[str, str, Mapping[str, Any]]:
    facts, noted = manifest.facts, len(manifest.warnings)
    told = f"{facts.train_count:,} images to train on and {facts.validation_count:,} to validate, of "
    told += f"{len(facts.classes)} classes, were packed; {noted} warning{'' if noted == 1 else 's'}."
    return "dataset_packed", told, {"sha256": facts.sha256, "warnings": [note.code for note in manifest.warnings]}


def _snapshot(event: SnapshotTaken, sha256: str) -> NewSnapshot:
    return NewSnapshot(event.number, event.epoch, event.step, event.scores, event.provenance, sha256)
