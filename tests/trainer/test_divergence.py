"""Where the first value stood that was not finite."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from tests.trainer.test_train import run, tiny
from trainer.divergence import first_not_finite
from trainer.errors import Diverged

LAYERS = ("first", "relu", "second", "third")


def network() -> nn.Sequential:
    model = nn.Sequential()
    for name, module in zip(LAYERS, (nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.Linear(2, 2)), strict=True):
        model.add_module(name, module)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    return model


def test_finite_values_are_not_complained_of() -> None:
    assert first_not_finite(network(), LAYERS, torch.ones(3, 2)) is None


@pytest.mark.parametrize(
    ("layer", "value", "expected"),
    [
        ("second", math.nan, "second"),
        ("third", math.inf, "third"),
        ("second", 3e38, "second"),
        ("first", 1e38, "second"),
    ],
)
def test_the_first_layer_whose_weights_or_outputs_are_not_finite_is_named(
    layer: str, value: float, expected: str
) -> None:
    model = network()
    with torch.no_grad():
        model.get_submodule(layer).weight.fill_(value)
        model.second.weight.mul_(10)

    assert first_not_finite(model, LAYERS, torch.full((3, 2), 0.5)) == expected
    assert not any(module._forward_hooks for module in model.modules())


EXPLODING: dict[str, Any] = {
    "network": {"kind": "mlp", "hidden": [8, 8, 8]},
    "schedule": {"kind": "constant", "learning_rate": 1000.0},
    "optimizer": {"kind": "sgd", "momentum": {"form": "none"}},
    "batch_size": 2,
    "ensemble": {"kind": "none"},
}


def diverged(**options: Any) -> Diverged:
    with pytest.raises(Diverged) as caught:
        run(tiny(**EXPLODING), **options)
    return caught.value


def test_a_diverged_training_tells_the_layer_however_late_it_is_noticed() -> None:
    late, at_once = diverged(), diverged(report_seconds=-1, checkpoint_seconds=-1)

    assert late.layer is not None
    assert (late.step, late.layer) == (at_once.step, at_once.layer)
    assert f"in layer {late.layer}" in str(late)
    assert (late.checkpoint_step, at_once.checkpoint_step) == (None, at_once.step - 1)
    assert f"checkpoint was that of step {at_once.step - 1}." in str(at_once)
