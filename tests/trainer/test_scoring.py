"""Scoring an ensemble of snapshot files: what it finds is what the members predict, and found again it is the same."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.specs import dataset, spec
from trainer import snapshot, splits, temperature
from trainer.errors import DataInvalid
from trainer.evaluate import log_probabilities
from trainer.events import Advanced, EnsembleMeasured, SnapshotTaken, TaskFinished, TaskStopped
from trainer.parsing import parse_as
from trainer.report import Report
from trainer.scores import brier, calibration
from trainer.scoring import score
from trainer.spec.scoring import ScoringSpec
from trainer.train import train

CPU = torch.device("cpu")
DATA = dataset(train=60, validation=80)
IDS = ["snap_1", "snap_2", "snap_3", "snap_4"]


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    """Two trainings of two snapshots each, of which the second preprocesses its images otherwise."""
    folder = tmp_path_factory.mktemp("members")
    found = []
    for changes in ({"seed": 1}, {"seed": 2, "preprocessing": {"centre": "per_pixel"}}):
        for event in train(spec(dataset="tiny", batch_size=20, **changes), DATA, device=CPU):
            if isinstance(event, SnapshotTaken):
                path = folder / f"{len(found)}.safetensors"
                snapshot.write(path, event.weights, event.provenance)
                found.append((IDS[len(found)], path))
    return found


def parsed(**changes: Any) -> ScoringSpec:
    document = {"name": "x", "members": {"kind": "snapshots", "ids": IDS}, "bootstrap": {"draws": 100}}
    return parse_as(ScoringSpec, json.dumps(document | changes))


def measured(members: list[tuple[str, Path]], **changes: Any) -> tuple[EnsembleMeasured, Report]:
    (found,) = (
        event for event in score(parsed(**changes), DATA, members, device=CPU) if isinstance(event, EnsembleMeasured)
    )
    return found, Report.model_validate(found.report)


def predicted(members: list[tuple[str, Path]]) -> list[Tensor]:
    """Each member's log-probabilities of the validation split."""
    images = torch.tensor(DATA.validation.images)
    return [log_probabilities(snapshot.load(path)[0], images) for _, path in members]


LABELS = torch.tensor(DATA.validation.labels)


def test_a_scoring_says_how_far_it_is_and_ends(members: list[tuple[str, Path]]) -> None:
    events = list(score(parsed(), DATA, members, device=CPU))

    assert [(one.done, one.of) for one in events if isinstance(one, Advanced)] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert isinstance(events[-2], EnsembleMeasured)
    assert isinstance(events[-1], TaskFinished)


def test_a_scoring_stops_before_the_next_member(members: list[tuple[str, Path]]) -> None:
    answers = iter([False, True])

    events = list(score(parsed(), DATA, members, device=CPU, stop=lambda: next(answers)))

    assert isinstance(events[-1], TaskStopped)
    assert sum(isinstance(one, Advanced) for one in events) == 1


def test_a_scoring_stops_while_it_chooses(members: list[tuple[str, Path]]) -> None:
    answers = iter([False] * 7 + [True])
    greedy = parsed(select={"kind": "greedy", "count": 50})

    events = list(score(greedy, DATA, members, device=CPU, stop=lambda: next(answers)))

    assert isinstance(events[-1], TaskStopped)
    assert [(one.done, one.of) for one in events if isinstance(one, Advanced)][-1] == (7, 54)


def test_the_same_bytes_on_repeat(members: list[tuple[str, Path]]) -> None:
    asked = {"select": {"kind": "greedy", "count": 10}, "temperature": {}}

    first, again = (json.dumps(measured(members, **asked)[0].report) for _ in range(2))

    assert first == again


def test_the_mean_of_all_is_what_the_members_predict(members: list[tuple[str, Path]]) -> None:
    alone = predicted(members)
    mean = torch.stack(alone).exp().mean(0)

    found, report = measured(members)

    assert found.shares == (0.25,) * 4
    assert report.images == len(LABELS)
    assert report.error == pytest.approx(float((mean.argmax(1) != LABELS).double().mean()))
    assert report.accuracy + report.error == 1
    loss = torch.nn.functional.nll_loss(mean.log(), LABELS)
    assert report.negative_log_likelihood == pytest.approx(float(loss), rel=1e-12)
    assert report.brier == pytest.approx(brier(mean.log(), LABELS), rel=1e-12)
    assert report.calibration is not None
    ece = calibration(mean.log(), LABELS).expected_calibration_error
    assert report.calibration.expected_calibration_error == pytest.approx(ece, rel=1e-9)
    for one, member in zip(report.members, alone, strict=True):
        assert one.error == float((member.argmax(1) != LABELS).double().mean())
        assert one.negative_log_likelihood == pytest.approx(float(torch.nn.functional.nll_loss(member, LABELS)))
    assert sum(map(sum, report.confusion)) == len(LABELS)
    assert [one.name for one in report.classes] == ["a", "b", "c", "d"]


def test_the_gain_is_over_the_best_member_and_growth_ends_at_the_whole(members: list[tuple[str, Path]]) -> None:
    _, report = measured(members)

    best = report.members[report.gain.best_member]
    assert best.error == min(one.error for one in report.members)
    assert report.gain.error.estimate == pytest.approx(best.error - report.error)
    assert report.gain.error.low <= report.gain.error.estimate <= report.gain.error.high
    assert report.gain.negative_log_likelihood is not None
    assert report.negative_log_likelihood is not None
    likelihood = best.negative_log_likelihood - report.negative_log_likelihood
    assert report.gain.negative_log_likelihood.estimate == pytest.approx(likelihood)
    assert [(point.members, point.added) for point in report.growth] == [(1, 0), (2, 1), (3, 2), (4, 3)]
    assert report.growth[0].error == report.members[0].error
    assert report.growth[-1].negative_log_likelihood == report.negative_log_likelihood


def test_weights_are_shares(members: list[tuple[str, Path]]) -> None:
    found, report = measured(members[:2], select={"kind": "all", "weights": [3.0, 1.0]})

    first, second = predicted(members[:2])
    mean = 0.75 * first.exp() + 0.25 * second.exp()
    assert found.shares == (0.75, 0.25)
    loss = float(torch.nn.functional.nll_loss(mean.log(), LABELS))
    assert report.negative_log_likelihood == pytest.approx(loss, rel=1e-12)


def test_votes_have_no_likelihood(members: list[tuple[str, Path]]) -> None:
    found, report = measured(members, combine="majority_vote")

    assert (report.negative_log_likelihood, report.brier, report.calibration, report.top_k) == (None, None, None, ())
    assert report.gain.negative_log_likelihood is None
    assert report.error == found.majority_vote.error


def test_members_are_chosen_on_one_half_and_scored_on_the_other(members: list[tuple[str, Path]]) -> None:
    first, second = splits.halves(LABELS, 7)
    alone = predicted(members)
    losses = [float(torch.nn.functional.nll_loss(one[first], LABELS[first])) for one in alone]

    found, report = measured(members, split_seed=7, select={"kind": "best", "count": 2})

    path = sorted(range(4), key=losses.__getitem__)[:2]
    assert report.selection is not None
    assert report.selection.path == tuple(path)
    assert report.selection.scores == pytest.approx([losses[place] for place in path])
    assert (report.split, report.images) == ("validation/b", len(second))
    assert [bool(share) for share in found.shares] == [place in path for place in range(4)]
    mean = torch.stack([alone[place][second] for place in path]).exp().mean(0)
    loss = float(torch.nn.functional.nll_loss(mean.log(), LABELS[second]))
    assert report.negative_log_likelihood == pytest.approx(loss, rel=1e-12)
    assert report.diversity.chosen == tuple(sorted(path))


def test_members_that_were_chosen_on_the_validation_split_are_scored_on_the_test_split(
    members: list[tuple[str, Path]],
) -> None:
    fitted = {"select": {"kind": "greedy", "on": "validation"}, "temperature": {"on": "validation"}}
    wish = parsed(score_on="test", **fitted)
    data = replace(DATA, test=DATA.train)

    (tested,) = (one for one in score(wish, data, members, device=CPU) if isinstance(one, EnsembleMeasured))
    on_train, report = measured(members, score_on="train", **fitted)

    assert (tested.shares, tested.geometric_mean) == (on_train.shares, on_train.geometric_mean)
    assert tested.report == report.model_dump(mode="json") | {"split": "test"}


def test_greedy_selection_may_take_a_member_twice(members: list[tuple[str, Path]]) -> None:
    found, report = measured(members, select={"kind": "greedy", "count": 25})

    assert report.selection is not None
    path = report.selection.path
    assert found.shares == tuple(path.count(place) / len(path) for place in range(4))
    assert [point.added for point in report.growth] == list(path)
    assert report.growth[-1].error == report.error


def test_the_temperature_is_fitted_on_one_half_and_scored_on_the_other(members: list[tuple[str, Path]]) -> None:
    _, plain = measured(members, score_on="validation/b")

    _, report = measured(members, temperature={})

    first, second = splits.halves(LABELS, 0)
    mean = torch.stack(predicted(members)).exp().mean(0).log()
    value = temperature.fit(mean[first], LABELS[first])
    assert report.temperature is not None
    assert report.temperature.value == pytest.approx(value, rel=1e-9)
    assert report.temperature.unscaled_negative_log_likelihood == plain.negative_log_likelihood
    assert report.error == plain.error
    scaled = temperature.scale(mean[second], value)
    loss = float(torch.nn.functional.nll_loss(scaled, LABELS[second]))
    assert report.negative_log_likelihood == pytest.approx(loss, rel=1e-9)


def test_a_member_that_predicts_no_numbers_is_refused_by_its_id(
    members: list[tuple[str, Path]], tmp_path: Path
) -> None:
    weights, provenance = snapshot.read(members[0][1])
    broken = tmp_path / "broken.safetensors"
    snapshot.write(broken, {name: torch.full_like(tensor, torch.nan) for name, tensor in weights.items()}, provenance)

    with pytest.raises(DataInvalid, match="snap_nan predicts values that are not finite"):
        list(score(parsed(), DATA, [("snap_nan", broken)], device=CPU))


@pytest.mark.gpu
def test_a_gpu_finds_what_a_cpu_finds(members: list[tuple[str, Path]]) -> None:
    found = [
        Report.model_validate(event.report)
        for device in (CPU, torch.device("cuda"))
        for event in score(parsed(), DATA, members, device=device)
        if isinstance(event, EnsembleMeasured)
    ]

    assert found[0].error == pytest.approx(found[1].error, abs=1.5 / len(LABELS))
    assert found[0].negative_log_likelihood == pytest.approx(found[1].negative_log_likelihood, rel=1e-3)
