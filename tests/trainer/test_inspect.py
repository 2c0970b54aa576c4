"""Statistics of layers against plain computations, and that looking changes nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.specs import dataset, spec
from tests.trainer.learners import learner
from trainer import data, document
from trainer.__main__ import main
from trainer.events import HISTOGRAM_EDGES, EpochFinished, LayersInspected, LayerStatistics
from trainer.inspect import copy_weights, dead, distribution, inputs, inspect, saturated, symmetric
from trainer.learner import Learner
from trainer.spec import Inspection
from trainer.train import train

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = dataset()
CONVNET = {"kind": "convnet", "channels": [3, 4], "batch_norm": {}, "dropout": {"drop": 0.5}}


def training(**changes: Any) -> Learner:
    chosen = spec(batch_size=16, **changes)
    return learner(chosen, TINY)


def look(made: Learner, before: dict[str, Tensor] | None = None) -> dict[str, LayerStatistics]:
    images, labels = made.batches.first(16)
    return {one.name: one for one in inspect(made.model, made.plan.layers, images, labels, before)}


def test_a_distribution_has_mean_std_and_counts_of_all_values() -> None:
    values = torch.tensor([0.0, 1e-12, -0.5, 2.0, 5000.0])

    found = distribution(values)

    assert found.mean == pytest.approx(values.double().mean().item())
    assert found.std == pytest.approx(values.double().std(correction=0).item())
    assert sum(found.histogram) == 5
    middle = len(HISTOGRAM_EDGES) // 2
    assert found.histogram[middle] == 2
    assert found.histogram[-1] == 1
    assert sum(found.histogram[:middle]) == 1


def test_a_histogram_of_many_values_counts_some_of_them() -> None:
    found = distribution(torch.ones(64, 8, 32, 32))

    (count,) = (count for count in found.histogram if count)
    assert 512 < count <= 1_024


def test_what_is_not_finite_has_no_figure() -> None:
    found = distribution(torch.tensor([1.0, float("inf")]))

    assert (found.mean, found.std) == (None, None)


def test_dead_units_are_those_that_are_zero_for_every_image() -> None:
    outputs = torch.tensor([[0.0, 0.0, 1.0, 2.0], [0.0, 3.0, 0.0, 1.0]])

    assert dead(outputs) == 0.25
    assert dead(outputs[:, :, None, None].expand(2, 4, 3, 3)) == 0.25


def test_saturated_outputs_are_those_near_a_bound() -> None:
    assert saturated(torch.tensor([0.999, -0.985, 0.9, 0.0]), (-1.0, 1.0)) == 0.5
    assert saturated(torch.tensor([0.999, 0.001, 0.9, 0.5]), (0.0, 1.0)) == 0.5


def test_symmetric_weights_are_equal_rows() -> None:
    assert symmetric(torch.full((3, 2), 0.1))
    assert symmetric(torch.tensor([[1.0, 2.0], [1.0, 2.0]]))
    assert not symmetric(torch.tensor([[1.0, 2.0], [1.0, 2.1]]))
    assert not symmetric(torch.ones(1, 2))


def test_figures_equal_those_of_autograd() -> None:
    made = training()
    images, labels = made.batches.first(16)
    units = made.model.preprocessing(images).flatten(1)
    first, last = made.model.hidden1, made.model.output
    hidden = units @ first.weight.T + first.bias
    logits = hidden.relu() @ last.weight.T + last.bias
    loss = nn.functional.cross_entropy(logits, labels)
    gradients = torch.autograd.grad(loss, [hidden, logits, first.weight])

    seen = look(made)

    assert list(seen) == ["hidden1", "activation1", "output"]
    assert seen["hidden1"].activations.std == pytest.approx(hidden.std(correction=0).item(), rel=1e-5)
    assert seen["hidden1"].gradients.std == pytest.approx(gradients[0].std(correction=0).item(), rel=1e-5)
    assert seen["output"].gradients.std == pytest.approx(gradients[1].std(correction=0).item(), rel=1e-5)
    assert seen["hidden1"].weight_norm == pytest.approx(first.weight.norm().item(), rel=1e-5)
    assert seen["hidden1"].gradient_norm == pytest.approx(gradients[2].norm().item(), rel=1e-5)
    assert seen["activation1"].dead == dead(hidden.relu())
    assert (seen["activation1"].weight_norm, seen["hidden1"].dead) == (None, None)


def test_the_update_ratio_is_that_of_the_last_update() -> None:
    made = training()
    before = copy_weights(made.model)
    made.train(*made.batches.first(16))

    seen = look(made, before)

    moved = (made.model.hidden1.weight - before["hidden1.weight"]).norm() / before["hidden1.weight"].norm()
    assert seen["hidden1"].update_ratio == pytest.approx(moved.item(), rel=1e-5)
    assert seen["hidden1"].update_ratio > 0


def test_looking_changes_nothing() -> None:
    made = training(network=CONVNET)
    made.train(*made.batches.first(16))
    state = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in made.model.parameters()]

    look(made)

    assert made.model.training
    assert all(torch.equal(state[name], tensor) for name, tensor in made.model.state_dict().items())
    pairs = zip(gradients, made.model.parameters(), strict=True)
    assert all(torch.equal(before, parameter.grad) for before, parameter in pairs)
    assert not any(module._forward_hooks for module in made.model.modules())


def test_batch_norm_is_seen_with_the_statistics_of_the_batch() -> None:
    seen = look(training(network=CONVNET))

    assert seen["norm1"].activations.mean == pytest.approx(0, abs=1e-5)
    assert seen["norm1"].activations.std == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("chosen", "epochs"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"every": 2}, [0, 2, 4]),
        ({"every": 0}, [0]),
        ({"every": 0, "epochs": [1, 3]}, [0, 1, 3]),
    ],
)
def test_inspections_come_at_the_start_and_after_the_epochs_asked_for(chosen: Any, epochs: list[int]) -> None:
    events = train(spec(batch_size=16, inspection=chosen), TINY, device=torch.device("cpu"))

    inspected = [event for event in events if isinstance(event, LayersInspected)]

    assert [event.epoch for event in inspected] == epochs
    assert [event.step for event in inspected] == [3 * epoch for epoch in epochs]
    ratios = [event.layers[0].update_ratio for event in inspected]
    assert ratios[0] is None
    assert all(ratio is not None and ratio > 0 for ratio in ratios[1:])


def test_a_long_training_is_inspected_twenty_times_unless_it_says_otherwise() -> None:
    def count(length: int, **chosen: Any) -> int:
        inspection = Inspection(**chosen)
        return sum(inspection.comes_after(epoch, length) for epoch in range(1, length + 1))

    assert [count(length) for length in (1, 20, 21, 200, 201)] == [1, 20, 10, 20, 18]
    assert (count(200, every=1), count(200, every=0), count(200, every=0, epochs=(7, 9))) == (200, 0, 2)


def test_inspecting_leaves_the_training_as_it_is() -> None:
    def losses(every: int) -> list[float]:
        chosen = spec(batch_size=16, network=CONVNET, inspection={"every": every})
        events = train(chosen, TINY, device=torch.device("cpu"))
        return [event.train_loss for event in events if isinstance(event, EpochFinished)]

    assert losses(0) == losses(1)


def at_start(example: str) -> dict[str, LayerStatistics]:
    """The layers of an example before its first step, by name."""
    chosen = document.read(EXAMPLES / example).spec()
    for event in train(chosen, data.load(chosen.dataset), device=torch.device("cpu")):
        if isinstance(event, LayersInspected):
            return {one.name: one for one in event.layers}
    raise AssertionError("nothing was inspected")


def activations(layers: dict[str, LayerStatistics]) -> list[Any]:
    return [layers[f"activation{number}"].activations for number in range(1, 11)]


def test_the_example_prints_the_slides_columns_from_the_input_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = [str(EXAMPLES / "activation-statistics.yaml"), "--layers", "--threads", "1", "--out", str(tmp_path)]

    assert main(arguments) == 0

    lines = capsys.readouterr().out.splitlines()
    first = lines.index("at initialisation")
    assert lines[first + 1].split() == ["layer", "name", "mean", "std", "gradient", "std"]
    name, *shown = lines[first + 2].split()
    assert (name, len(shown)) == ("input", 2)
    found = {line.split()[1]: [float(word) for word in line.split()[2:]] for line in lines[first + 3 : first + 24]}
    columns = [shown, *(found[f"activation{number}"] for number in range(1, 11))]
    # Of 1000 images with 500 units, the mean of a layer is within some standard errors of tanh's, zero.
    assert all(abs(float(column[0])) < 0.02 * max(float(column[1]), 1e-9) for column in columns)
    slide = [1.0, 0.213, 0.0476, 0.0106, 0.0024, 0.00053, 0.00012]
    assert [float(column[1]) for column in columns[:7]] == pytest.approx(slide, rel=0.05)
    assert [*found][:2] == ["hidden1", "activation1"]
    assert len(found) == 21


def test_the_inputs_are_the_images_as_preprocessed() -> None:
    made = training()
    images, _ = made.batches.first(16)

    found = inputs(made.model, images)

    expected = made.model.get_submodule("preprocessing")(images)
    assert (found.mean, found.std) == pytest.approx(
        (float(expected.mean()), float(expected.std(correction=0))), abs=1e-6
    )


def test_signals_vanish_behind_small_random_weights_as_on_the_slide() -> None:
    found = activations(at_start("activation-statistics.yaml"))

    slide = [0.213, 0.0476, 0.0106, 0.0024, 0.00053, 0.00012]
    assert [one.std for one in found[:6]] == pytest.approx(slide, rel=0.05)
    assert found[9].std < 1e-6


def test_signals_keep_their_size_behind_xavier_weights() -> None:
    found = activations(at_start("activation-statistics-xavier.yaml"))

    assert all(0.2 < one.std < 0.7 for one in found)


def test_signals_keep_their_size_behind_he_weights_and_relu() -> None:
    found = activations(at_start("activation-statistics-he.yaml"))

    assert found[0].mean == pytest.approx(0.56, abs=0.02)
    assert found[0].std == pytest.approx(0.83, abs=0.02)
    assert all(0.5 < one.mean < 0.75 and 0.75 < one.std < 1.1 for one in found)
