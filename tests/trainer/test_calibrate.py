"""Initial weights that look at images: what each layer makes of the batch afterwards."""

from math import fsum, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.specs import dataset, spec
from tests.trainer.learners import learner
from trainer import data
from trainer.calibrate import paces, weighted
from trainer.data import DataSet
from trainer.errors import InitializationFailed
from trainer.inspect import looking
from trainer.learner import Learner
from trainer.randomness import generator

TINY = dataset()
NETWORKS = [
    {"kind": "mlp", "hidden": [24, 16], "activation": "tanh"},
    {"kind": "convnet", "channels": [6, 4], "dropout": {"drop": 0.5, "form": "classic"}},
    {"kind": "resnet", "depth": 8, "batch_norm": None},
]


def training(network: dict[str, Any], initialization: dict[str, Any], known: DataSet = TINY) -> Learner:
    chosen = spec(batch_size=16, network={**network, "initialization": initialization})
    return learner(chosen, known)


def outputs(made: Learner, count: int) -> list[Tensor]:
    """What each weighted layer puts out for the first `count` images, as (channels, values)."""
    found: dict[Any, Tensor] = {}
    hooks = [
        layer.register_forward_hook(lambda layer, _, output: found.update({layer: output}))
        for layer in weighted(made.model)
    ]
    with looking(made.model), torch.no_grad():
        made.model(made.batches.first(count)[0])
    for hook in hooks:
        hook.remove()
    return [found[layer].transpose(0, 1).flatten(1) for layer in weighted(made.model)]


def weights(made: Learner) -> list[Tensor]:
    return [layer.weight.detach() for layer in weighted(made.model)]


@pytest.mark.parametrize("network", NETWORKS)
def test_lsuv_brings_the_variance_of_every_layers_outputs_to_1(network: dict[str, Any]) -> None:
    made = training(network, {"kind": "lsuv", "images": 20})

    variances = [float(output.var(correction=0)) for output in outputs(made, 20)]

    assert variances == pytest.approx([1.0] * len(variances), rel=0.01)


@pytest.mark.parametrize("network", NETWORKS)
def test_lsuv_scales_the_orthogonal_draw_of_each_layer(network: dict[str, Any]) -> None:
    scaled = weights(training(network, {"kind": "lsuv", "images": 20}))
    drawn = weights(training(network, {"kind": "orthogonal"}))

    for after, before in zip(scaled, drawn, strict=True):
        assert torch.allclose(after / after.norm(), before / before.norm(), atol=1e-6)


def test_lsuv_scales_layers_before_batch_norm_too_and_counts_nothing_in_its_averages() -> None:
    made = training({"kind": "convnet", "channels": [4, 4], "batch_norm": {}}, {"kind": "lsuv", "images": 20})

    assert [float(one.var(correction=0)) for one in outputs(made, 20)] == pytest.approx([1.0] * 3, rel=0.01)
    norm = made.model.get_submodule("norm1")
    assert torch.equal(norm.get_buffer("running_mean"), torch.zeros(4))
    assert int(norm.get_buffer("num_batches_tracked")) == 0


def test_lsuv_looks_at_the_first_images_alone() -> None:
    images = TINY.train.images.copy()
    images[20:] = images[20:][::-1]
    turned = DataSet("tiny", data.Split(images, TINY.train.labels), TINY.validation, TINY.classes)
    chosen = {"kind": "lsuv", "images": 20}

    one, other = (weights(training(NETWORKS[1], chosen, known)) for known in (TINY, turned))

    assert all(map(torch.equal, one, other))


@pytest.mark.parametrize("network", NETWORKS)
def test_within_layers_every_channel_comes_to_mean_0_and_std_1(network: dict[str, Any]) -> None:
    made = training(network, {"kind": "data_dependent", "images": 20, "between_layers": False})

    for output in outputs(made, 20):
        assert torch.allclose(output.mean(1), torch.zeros(len(output)), atol=1e-5)
        assert torch.allclose(output.std(1, correction=0), torch.ones(len(output)), atol=1e-5)


LENET = {"kind": "lenet", "padding": 6, "activation": "relu"}


def seen_paces(made: Learner) -> list[float]:
    """Paces on directions that the initialization has not drawn."""
    images, _ = made.batches.first(200)
    drawn = [paces(made.model, images, generator("cpu", 5, "test", number)) for number in range(10)]
    return [sqrt(fsum(pace**2 for pace in layer) / 10) for layer in zip(*drawn, strict=True)]


def test_between_layers_paces_are_evened_and_means_stay_0() -> None:
    known = dataset(train=200)
    apart = training(LENET, {"kind": "data_dependent", "images": 200, "between_layers": False}, known)
    evened = training(LENET, {"kind": "data_dependent", "images": 200}, known)

    before, after = seen_paces(apart), seen_paces(evened)

    assert max(before) / min(before) > 20
    assert max(after) / min(after) < 1.5
    for output in outputs(evened, 200):
        stds = output.std(1, correction=0)
        assert torch.allclose(stds, stds.mean(), rtol=1e-4)
        assert torch.allclose(output.mean(1) / stds, torch.zeros(len(output)), atol=1e-4)


def test_a_pace_is_the_root_mean_square_of_gradients_over_that_of_weights() -> None:
    made = training({"kind": "mlp", "hidden": []}, {"kind": "he"})
    images, _ = made.batches.first(7)
    (layer,) = weighted(made.model)
    units = made.model.get_submodule("preprocessing")(images).flatten(1)
    directions = torch.randn(7, 4, generator=generator("cpu", 5, "x"))

    (pace,) = paces(made.model, images, generator("cpu", 5, "x"))

    gradient = directions.T @ units
    assert pace == pytest.approx(float(gradient.norm() / layer.weight.detach().norm()), rel=1e-5)


@pytest.mark.parametrize("kind", ["lsuv", "data_dependent"])
def test_images_that_are_all_the_same_are_refused(kind: str) -> None:
    blank = data.Split(np.zeros_like(TINY.train.images), TINY.train.labels)

    with pytest.raises(InitializationFailed, match="without variance") as caught:
        training(NETWORKS[1], {"kind": kind, "images": 20}, DataSet("blank", blank, blank, TINY.classes))

    assert "such as he" in (caught.value.hint or "")
