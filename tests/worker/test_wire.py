"""Events cross the pipe unchanged, to the bit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.events import (
    Advanced,
    CheckpointReady,
    Distribution,
    EnsembleMeasured,
    EnsembleMember,
    EnsembleScored,
    EpochFinished,
    LayerPruned,
    LayersInspected,
    LayerStatistics,
    LintFound,
    NetworkPruned,
    PhaseStarted,
    Scores,
    SnapshotTaken,
    StepsFinished,
    TaskFinished,
    TaskStopped,
    TrainingFinished,
    TrainingStarted,
    TrainingStopped,
    VoteScores,
)
from worker.wire import Failed, Message, decode, encode

SCORES = Scores(accuracy=0.991, error=0.009, negative_log_likelihood=0.031)
VALUES = Distribution(0.1, None, (1, 0, 7))
STATISTICS = LayerStatistics(2, "conv1", "Convolution", VALUES, VALUES, None, 0.25, False, 1.5, 0.5, 1e-4)


@pytest.mark.parametrize(
    "event",
    [
        PhaseStarted("training"),
        TrainingStarted("cpu", 93_322, 20, 32, 1, {"torch": "2.13.0"}),
        TrainingStarted("cuda:0", 93_322, 20, 32, 1, {"torch": "2.13.0"}, ("train", "validation")),
        EpochFinished(1, 32, 0.5, 0.9, 0.4, 0.92, 0.1, 1234.5, 0.7),
        EnsembleScored(
            "snapshots",
            (EnsembleMember(3, 0.5, SCORES), EnsembleMember(4, 0.5, SCORES)),
            SCORES,
            SCORES,
            SCORES,
            VoteScores(0.98, 0.02),
        ),
        EnsembleScored("swa", (EnsembleMember(2, 1.0, SCORES),), SCORES, SCORES, SCORES, VoteScores(0.99, 0.01), 5),
        LayersInspected(3, 96, STATISTICS.activations, (STATISTICS, STATISTICS)),
        LintFound("activation5", "vanishing", "Layer 10 (activation5): its outputs have vanished."),
        NetworkPruned(1, 5, 160, 0.2, (LayerPruned("hidden1", 1_000, 800), LayerPruned("output", 100, 80))),
        EnsembleMeasured((0.75, 0.25), {"growth": [{"error": 0.1 + 0.2}], "brier": None}, SCORES, VoteScores(0.9, 0.1)),
        Advanced(3, 7),
        TaskStopped(),
        TaskFinished(),
        TrainingStopped(7),
        TrainingFinished(640),
        Failed("diverged", "loss_not_finite", "The loss became nan.", {"epoch": 2}, "Lower it.", 41),
    ],
)
def test_an_event_without_tensors_comes_back_equal(event):
    assert decode(encode(Message(event))) == Message(event)


def test_tensors_stay_behind_and_the_file_is_named():
    event = SnapshotTaken(1, 4, 128, SCORES, {"conv1.weight": object()}, {"seed": 7})

    message = decode(encode(Message(event, "snapshot-1.safetensors")))

    assert message.file == "snapshot-1.safetensors"
    assert message.event == SnapshotTaken(1, 4, 128, SCORES, {}, {"seed": 7})


def test_a_checkpoint_keeps_its_facts():
    message = decode(
        encode(Message(CheckpointReady(2, 64, {"x": object()}, {"losses": [0.1]}), "checkpoint-64.safetensors"))
    )

    assert message.event == CheckpointReady(2, 64, {}, {"losses": [0.1]})


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_losses_come_back_to_the_bit(losses):
    event = StepsFinished(1, 1, tuple(losses), tuple(losses), 100.0)

    decoded = decode(encode(Message(event))).event

    assert isinstance(decoded, StepsFinished)
    assert [math.copysign(1, a) for a in decoded.losses] == [math.copysign(1, a) for a in losses]
    assert decoded.losses == tuple(losses)
