"""Independent members and how predictions are combined."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from tests.trainer.test_train import TINY, bits, of, run, stopped, tiny
from trainer.ensemble import average, geometric_mean, majority_vote, member_seed, score
from trainer.evaluate import log_probabilities, scores
from trainer.events import (
    EnsembleScored,
    EpochFinished,
    LayersInspected,
    SnapshotTaken,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
    VoteScores,
)
from trainer.randomness import seed_for
from trainer.schedule import learning_rate
from trainer.spec import LARGEST_EXACT_INTEGER

THREE: dict[str, Any] = {
    "ensemble": {"kind": "independent", "members": 3},
    "schedule": {"kind": "cosine", "learning_rate": 0.05},
    "network": {"kind": "convnet", "channels": [3], "batch_norm": {}, "dropout": {"drop": 0.2}},
    "augmentation": [{"kind": "random_crop", "padding": 1}],
    "epochs": 2,
    "seed": 5,
}


def logs(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def test_members_differ_and_all_are_stored() -> None:
    taken = of(SnapshotTaken, run(tiny(**THREE)))

    assert [(one.number, one.epoch, one.step) for one in taken] == [(1, 2, 6), (2, 4, 12), (3, 6, 18)]
    weights = [bits(one.weights)["conv1.weight"] for one in taken]
    assert len(set(weights)) == 3


def test_a_members_seed_is_a_function_of_the_specs_and_its_number() -> None:
    taken = of(SnapshotTaken, run(tiny(**THREE)))

    assert [(one.provenance["member"], one.provenance["seed"]) for one in taken] == [
        (number, member_seed(5, number)) for number in (1, 2, 3)
    ]
    assert member_seed(5, 1) == 5
    assert member_seed(5, 2) == seed_for(5, "member", 2) % (LARGEST_EXACT_INTEGER + 1)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_member_is_what_its_seed_gives_alone(number: int) -> None:
    members = of(SnapshotTaken, run(tiny(**THREE)))

    alone = tiny(**{**THREE, "ensemble": {"kind": "none"}, "seed": member_seed(5, number)})

    (taken,) = of(SnapshotTaken, run(alone))
    assert bits(members[number - 1].weights) == bits(taken.weights)


def test_epochs_and_steps_are_counted_through_and_the_schedule_starts_anew() -> None:
    chosen = tiny(**THREE)
    events = run(chosen)

    assert of(TrainingStarted, events)[0].epochs == 6
    assert [(one.epoch, one.step) for one in of(EpochFinished, events)] == [(n, 3 * n) for n in range(1, 7)]
    assert [(one.epoch, one.first_step) for one in of(StepsFinished, events) if len(one.losses) > 1][1:] == [
        (n, 3 * n - 2) for n in range(2, 7)
    ]
    rates = [rate for one in of(StepsFinished, events) for rate in one.learning_rates]
    assert rates == 3 * [learning_rate(chosen.schedule, step // 3 + step % 3 / 3, 2) for step in range(6)]
    assert [one.epoch for one in of(LayersInspected, events)] == [0, 1, 2, 3, 4, 5, 6]
    assert of(TrainingFinished, events)[0].step == 18


def test_each_member_is_inspected_after_the_same_epochs_of_its_own() -> None:
    events = run(tiny(**THREE, inspection={"every": 0, "epochs": [1]}))

    assert [one.epoch for one in of(LayersInspected, events)] == [0, 1, 3, 5]


def test_independent_members_are_averaged_beside_the_last_alone() -> None:
    events = run(tiny(**THREE))
    taken, (found,) = of(SnapshotTaken, events), of(EnsembleScored, events)

    assert (found.kind, found.averaged) == ("independent", None)
    assert [(one.snapshot, one.weight) for one in found.members] == [(n, 1 / 3) for n in (1, 2, 3)]
    assert [one.scores for one in found.members] == [one.scores for one in taken]
    assert found.single == taken[-1].scores


def test_a_checkpoint_between_two_members_holds_the_next_one(tmp_path: Any) -> None:
    first, going_on = stopped(tiny(**THREE), 6, tmp_path)
    (taken,) = of(SnapshotTaken, first)

    resumed = run(tiny(**THREE), resume=going_on)

    assert taken.epoch == 2
    assert of(TrainingStarted, resumed)[0].first_step == 7
    assert [one.snapshot for one in of(EnsembleScored, resumed)[0].members] == [1, 2, 3]


def test_combinations_are_those_worked_out_by_hand() -> None:
    members = [logs((0.9, 0.1)), logs((0.4, 0.6)), logs((0.4, 0.6))]

    assert average(members, [1 / 3] * 3).exp()[0].tolist() == pytest.approx([1.7 / 3, 1.3 / 3])
    likely, unlikely = (0.9 * 0.4 * 0.4) ** (1 / 3), (0.1 * 0.6 * 0.6) ** (1 / 3)
    expected = [likely / (likely + unlikely), unlikely / (likely + unlikely)]
    assert geometric_mean(members).exp()[0].tolist() == pytest.approx(expected)


def test_averaging_differs_from_a_majority_vote() -> None:
    members = [logs((0.9, 0.1)), logs((0.4, 0.6)), logs((0.4, 0.6))]

    assert majority_vote(members).tolist() == [1]
    assert average(members, [1 / 3] * 3).argmax(1).tolist() == [0]


def test_ties_of_votes_go_to_the_largest_sum_of_probabilities_among_them() -> None:
    # One vote each for the first two; the third class has none, though it has the largest sum.
    members = [logs((0.5, 0.05, 0.45)), logs((0.02, 0.52, 0.46))]

    assert majority_vote(members).tolist() == [1]
    assert majority_vote(members[::-1]).tolist() == [1]


def test_the_scores_of_an_ensemble_are_those_of_its_combinations() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).double()
    images = torch.tensor(TINY.validation.images).double() / 255
    labels = torch.tensor(TINY.validation.labels)
    source = torch.Generator().manual_seed(1)
    members = [
        (
            number,
            {name: torch.randn(item.shape, generator=source).double() for name, item in model.state_dict().items()},
        )
        for number in (4, 5, 6)
    ]

    found = score("snapshots", model, members, images, labels)

    predicted = []
    for _, weights in members:
        model.load_state_dict(weights)
        predicted.append(log_probabilities(model, images))
    right = [0, 0]
    for row, label in enumerate(labels.tolist()):
        votes = [int(one[row].argmax()) for one in predicted]
        sums = [math.fsum(float(one[row, k].exp()) for one in predicted) for k in range(4)]
        product = [math.prod(float(one[row, k].exp()) for one in predicted) for k in range(4)]
        right[0] += max(range(4), key=lambda k: (votes.count(k), sums[k])) == label
        right[1] += max(range(4), key=product.__getitem__) == label
    assert found.majority_vote.accuracy == right[0] / 20
    assert found.majority_vote == VoteScores(right[0] / 20, 1 - right[0] / 20)
    assert found.geometric_mean.accuracy == right[1] / 20
    assert found.geometric_mean == scores(geometric_mean(predicted), labels)
