"""What a child has reported, as changes for the store."""

import pytest

from app.store.checkpoints import CheckpointRef
from app.store.ensembles import MeasuredEnsemble, NewEnsemble
from app.store.reports import Progress
from app.store.states import Phase
from trainer.events import (
    Advanced,
    CheckpointReady,
    Distribution,
    EnsembleKind,
    EnsembleMeasured,
    EnsembleMember,
    EnsembleScored,
    EpochFinished,
    LayerPruned,
    LayersInspected,
    LintFound,
    NetworkPruned,
    PhaseStarted,
    Scores,
    SnapshotTaken,
    StepsFinished,
    TrainingStarted,
    VoteScores,
)
from worker.changes import changes_of
from worker.wire import Message

SCORES = Scores(0.9, 0.1, 0.3)


def test_reports_of_a_batch_are_joined() -> None:
    first = StepsFinished(1, 1, (0.5, 0.4), (0.1, 0.1), 10.0)
    second = StepsFinished(2, 3, (0.3,), (0.05,), 20.0)

    changes = changes_of([Message(first), Message(second)], {})

    assert changes.series == {"loss": ([1, 2, 3], [0.5, 0.4, 0.3]), "learning_rate": ([1, 2, 3], [0.1, 0.1, 0.05])}
    assert changes.progress == Progress(2, 3, 20.0)


def test_pieces_of_other_work_are_the_steps_of_one_epoch() -> None:
    changes = changes_of([Message(Advanced(1, 9)), Message(Advanced(2, 8))], {})

    assert changes.progress == Progress(1, 2, None, steps=8)


def test_what_a_scoring_finds_is_kept_and_told() -> None:
    report = {"accuracy": 0.95, "error": 0.05, "negative_log_likelihood": None, "split": "validation/b"}

    changes = changes_of([Message(EnsembleMeasured((0.5, 0.0, 0.5), report, SCORES, VoteScores(0.9, 0.1)))], {})

    assert changes.measured == MeasuredEnsemble((0.5, 0.0, 0.5), report, SCORES, VoteScores(0.9, 0.1))
    ((kind, told, data),) = changes.events
    assert (kind, told) == ("ensemble_scored", "Ensemble of 2: accuracy 95.00% on validation/b.")
    assert data == {"accuracy": 0.95, "error": 0.05, "negative_log_likelihood": None}


@pytest.mark.parametrize(
    ("streamed", "told"),
    [
        ((), ""),
        (("train",), " Streamed from the host: train images."),
        (("train", "validation"), " Streamed from the host: train and validation images."),
    ],
)
def test_the_start_tells_what_is_streamed(streamed: tuple[str, ...], told: str) -> None:
    started = TrainingStarted("cpu", 1200, 4, 10, 1, {"device": "cpu AVX2"}, streamed)

    changes = changes_of([Message(started)], {})

    ((kind, sentence, detail),) = changes.events
    assert kind == "training_started"
    assert sentence == f"Training 1,200 parameters on cpu AVX2 from the start.{told}"
    assert detail == {"device": "cpu AVX2", "streamed": list(streamed)}


def test_the_last_phase_counts() -> None:
    changes = changes_of([Message(PhaseStarted("loading_data")), Message(PhaseStarted("training"))], {})

    assert changes.phase is Phase.TRAINING


def test_an_epoch_becomes_its_row() -> None:
    epoch = EpochFinished(3, 30, 0.1, 0.2, 0.3, 0.4, 0.5, 600.0, 0.7)

    assert changes_of([Message(epoch)], {}).epochs == [vars(epoch)]


def test_files_become_blobs() -> None:
    snapshot = SnapshotTaken(1, 2, 20, SCORES, {}, {"seed": 1})
    checkpoint = CheckpointReady(2, 20, {}, {})
    messages = [Message(snapshot, "a"), Message(checkpoint, "b")]

    changes = changes_of(messages, {"a": "hash-a", "b": "hash-b"})

    assert [(one.number, one.sha256, one.provenance) for one in changes.snapshots] == [(1, "hash-a", {"seed": 1})]
    assert changes.checkpoints == [CheckpointRef(20, 2, "hash-b")]
    assert [kind for kind, _, _ in changes.events] == ["snapshot_taken"]


@pytest.mark.parametrize(
    ("kind", "members", "averaged", "told"),
    [
        ("snapshots", 2, None, "Ensemble of 2: accuracy 90.00%, the last model alone 80.00%."),
        ("swa", 1, 5, "Averaged weights (SWA of 5 epochs): accuracy 90.00%, the last model alone 80.00%."),
        ("ema", 1, 1200, "Averaged weights (EMA of 1,200 steps): accuracy 90.00%, the last model alone 80.00%."),
    ],
)
def test_an_ensemble_is_stored_with_all_its_scores_and_told_of(
    kind: EnsembleKind, members: int, averaged: int | None, told: str
) -> None:
    single, geometric, votes = Scores(0.8, 0.2, 0.6), Scores(0.85, 0.15, 0.5), VoteScores(0.7, 0.3)
    parts = tuple(EnsembleMember(number, 1 / members, SCORES) for number in range(members))

    changes = changes_of([Message(EnsembleScored(kind, parts, SCORES, single, geometric, votes, averaged))], {})

    shares = [(number, 1 / members) for number in range(members)]
    assert changes.ensemble == NewEnsemble(kind, shares, SCORES, single, geometric, votes, averaged)
    assert [message for _, message, _ in changes.events] == [told]


def test_a_snapshot_of_averaged_weights_is_told_as_such() -> None:
    taken = SnapshotTaken(2, 5, 50, SCORES, {}, {"average": "swa"})

    ((_, told, _),) = changes_of([Message(taken, "a")], {"a": "hash"}).events

    assert told == "Snapshot 2 of averaged weights (SWA): accuracy 90.00%."


def test_lint_becomes_an_event_of_the_job() -> None:
    changes = changes_of([Message(LintFound("conv1", "dead", "Layer 0 (conv1): dead."))], {})

    assert changes.events == [("lint", "Layer 0 (conv1): dead.", {"layer": "conv1", "code": "dead"})]


def test_a_pruning_becomes_an_event_of_the_job() -> None:
    layers = (LayerPruned("hidden1", 1_000, 512), LayerPruned("output", 100, 81))

    changes = changes_of([Message(NetworkPruned(3, 12, 96, 0.46, layers))], {})

    ((kind, told, detail),) = changes.events
    assert kind == "network_pruned"
    assert "46.00%" in told
    assert detail == {"round": 3, "sparsity": 0.46, "left": {"hidden1": 512, "output": 81}}


def test_inspected_layers_are_kept_as_they_are() -> None:
    inspected = LayersInspected(2, 64, Distribution(0.0, 1.0, ()), ())

    assert changes_of([Message(inspected)], {}).layers == [inspected]
