"""Averaged weights: SWA and EMA."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.test_train import TINY, bits, of, run, tiny
from trainer import build, dropout, snapshot
from trainer.augment import Augment
from trainer.averages import RunningAverage, recompute_statistics
from trainer.batches import Batches
from trainer.evaluate import log_probabilities, scores
from trainer.events import CheckpointReady, EnsembleScored, Event, SnapshotTaken
from trainer.feed import Resident
from trainer.spec import ExponentialMovingAverage, StochasticWeightAveraging, TrainingSpec

CPU = torch.device("cpu")
NORMALIZED: dict[str, Any] = {
    "network": {"kind": "convnet", "channels": [3, 4], "batch_norm": {}, "dropout": {"drop": 0.3}},
    "augmentation": [{"kind": "random_crop", "padding": 1}],
    "schedule": {"kind": "constant", "learning_rate": 0.05},
    "epochs": 5,
}


def averaging(**ensemble: Any) -> TrainingSpec:
    return tiny(**NORMALIZED, ensemble=ensemble)


def weights_at_ends(events: list[Event]) -> dict[int, dict[str, Tensor]]:
    """Weights by epoch, of the checkpoints and of the last model's snapshot."""
    found = {
        ready.epoch: {name.removeprefix("model."): item for name, item in ready.tensors.items()}
        for ready in of(CheckpointReady, events)
    }
    last = of(SnapshotTaken, events)[0]
    return found | {last.epoch: dict(last.weights)}


def is_statistic(name: str) -> bool:
    return "running" in name or "tracked" in name or name.startswith("preprocessing")


@pytest.mark.parametrize(("start", "every", "epochs"), [(2, 1, [2, 3, 4, 5]), (1, 2, [1, 3, 5]), (2, 2, [2, 4])])
def test_swa_is_the_mean_of_the_weights_at_those_epochs(start: int, every: int, epochs: list[int]) -> None:
    events = run(averaging(kind="swa", start=start, every=every))
    ends, (_, averaged) = weights_at_ends(events), of(SnapshotTaken, events)

    for name, weights in averaged.weights.items():
        if not is_statistic(name):
            direct = torch.stack([ends[epoch][name].double() for epoch in epochs]).mean(0)
            assert torch.allclose(weights.double(), direct, rtol=0, atol=1e-6), name
    assert (averaged.provenance["average"], averaged.provenance["averaged"]) == ("swa", len(epochs))


def test_batch_norm_counts_one_more_epoch_as_training_would_see_it() -> None:
    chosen = averaging(kind="swa", start=2)
    (_, averaged) = of(SnapshotTaken, run(chosen))
    model = build.skeleton(chosen, (1, 8, 8), 4)
    model.load_state_dict(averaged.weights)
    norms = {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    inputs: dict[str, list[Tensor]] = {name: [] for name in norms}
    for name, norm in norms.items():
        norm.register_forward_pre_hook(lambda _, given, name=name: inputs[name].append(given[0].detach().double()))
    augment = Augment(chosen.augmentation, TINY.train.images, 4, CPU, chosen.seed)
    sizes = []
    model.train()
    for index, (images, labels) in enumerate(
        Batches(Resident(TINY.train, CPU), 16, chosen.seed, drop_last=False).epoch(6)
    ):
        step = 5 * 3 + index + 1
        dropout.reseed(model, CPU, chosen.seed, step)
        sizes.append(len(images))
        with torch.no_grad():
            model(augment(images, labels, step)[0])

    assert sizes == [16, 16, 8]
    shares = torch.tensor(sizes).double() / 40
    for name, batches in inputs.items():
        means = torch.stack([batch.mean((0, 2, 3)) for batch in batches])
        variances = torch.stack([batch.var((0, 2, 3)) for batch in batches])
        for statistic, direct in (("running_mean", means), ("running_var", variances)):
            found = averaged.weights[f"{name}.{statistic}"].double()
            assert torch.allclose(found, shares @ direct, rtol=1e-4, atol=1e-5), (name, statistic)


def test_recomputing_leaves_weights_modes_and_momentum_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.3)).eval()
    before = {name: item.clone() for name, item in model.named_parameters()}

    recompute_statistics(model, [(torch.randn(5, 3), 5), (torch.randn(2, 3), 2)])

    assert all(torch.equal(before[name], item) for name, item in model.named_parameters())
    assert not model.training
    assert model[1].momentum == 0.3


def test_ema_follows_its_formula_over_ten_steps() -> None:
    layer = nn.Linear(3, 2)
    average = RunningAverage(layer, ExponentialMovingAverage(kind="ema", decay=0.9))
    expected = layer.weight.detach().double().clone()
    source = torch.Generator().manual_seed(1)

    for _ in range(10):
        with torch.no_grad():
            layer.weight.copy_(torch.randn(2, 3, generator=source))
        average.after_step()
        average.after_epoch(1, 1)
        expected = 0.9 * expected + 0.1 * layer.weight.detach().double()

    average.put_into_model()
    assert torch.allclose(layer.weight.double(), expected, rtol=0, atol=1e-6)
    assert average.count == 10


def test_swa_takes_no_notice_of_steps() -> None:
    layer = nn.Linear(3, 2)
    average = RunningAverage(layer, StochasticWeightAveraging(kind="swa", start=2))

    average.after_step()
    average.after_epoch(1, 3)

    assert average.count == 0


def test_ema_in_a_training_is_of_the_weights_after_each_step() -> None:
    """Checkpoints before every step show them."""
    events = run(averaging(kind="ema", decay=0.8), checkpoint_seconds=-1)
    ready = of(CheckpointReady, events)
    by_step = {one.step: one.tensors["model.output.weight"].double() for one in ready}
    last, averaged = of(SnapshotTaken, events)
    by_step[15] = last.weights["output.weight"].double()

    expected = by_step[0]
    for step in range(1, 16):
        expected = 0.8 * expected + 0.2 * by_step[step]

    assert torch.allclose(averaged.weights["output.weight"].double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("ensemble", [{"kind": "swa", "start": 2}, {"kind": "ema", "decay": 0.8}])
def test_averaged_weights_are_scored_beside_the_last_model_and_change_nothing_of_it(
    ensemble: dict[str, Any], tmp_path: Path
) -> None:
    events = run(averaging(**ensemble))
    (last, averaged), (found,) = of(SnapshotTaken, events), of(EnsembleScored, events)
    (plain,) = of(SnapshotTaken, run(averaging(kind="none")))
    snapshot.write(tmp_path / "file", averaged.weights, averaged.provenance)
    model, _ = snapshot.load(tmp_path / "file")

    assert bits(last.weights) == bits(plain.weights)
    assert (last.number, averaged.number, averaged.epoch, averaged.step) == (1, 2, 5, 15)
    predicted = log_probabilities(model, torch.tensor(TINY.validation.images))
    expected = scores(predicted, torch.tensor(TINY.validation.labels))
    assert found.scores == averaged.scores
    assert found.scores.accuracy == expected.accuracy
    assert found.scores.negative_log_likelihood == pytest.approx(expected.negative_log_likelihood)
    assert found.single == last.scores
    assert [(one.snapshot, one.weight) for one in found.members] == [(2, 1.0)]
    assert (found.kind, found.averaged) == (ensemble["kind"], 4 if ensemble["kind"] == "swa" else 15)
