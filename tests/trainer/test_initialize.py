"""Weights at the start, against their rules and the ten-layer experiments."""

from math import exp, log, sqrt

import pytest
import torch
from torch import Tensor, nn

from tests.specs import spec
from trainer.build import skeleton
from trainer.initialize import draw, fans, initialize, random_walk_gain
from trainer.randomness import generator
from trainer.spec import Initialization


def initialization(kind: str, **settings: object) -> Initialization:
    return spec(network={"kind": "mlp", "initialization": {"kind": kind, **settings}}).network.initialization


def stds_of_ten_layers(chosen: Initialization, activation: nn.Module) -> tuple[list[float], list[float]]:
    """Means and stds of the outputs of ten layers of 500 units on unit-gaussian input."""
    units = torch.randn(1000, 500, generator=generator("cpu", 0, "input"))
    means, stds = [], []
    for layer in range(10):
        weights = draw(chosen, torch.Size([500, 500]), generator("cpu", 0, "layer", layer))
        units = activation(units @ weights.T)
        means.append(float(units.mean()))
        stds.append(float(units.std()))
    return means, stds


def test_small_random_weights_let_ten_tanh_layers_vanish() -> None:
    _, stds = stds_of_ten_layers(initialization("small_random", std=0.01), nn.Tanh())

    assert stds[:6] == pytest.approx([0.213, 0.0476, 0.0106, 0.0024, 0.00053, 0.00012], rel=0.05)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("fan", ["in", "average"])
def test_xavier_keeps_ten_tanh_layers_alive(distribution: str, fan: str) -> None:
    _, stds = stds_of_ten_layers(initialization("xavier", distribution=distribution, fan=fan), nn.Tanh())

    assert all(0.15 < std < 1 for std in stds)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_he_keeps_ten_relu_layers_at_one_scale(distribution: str) -> None:
    means, stds = stds_of_ten_layers(initialization("he", distribution=distribution), nn.ReLU())

    assert means == pytest.approx([0.56] * 10, rel=0.15)
    assert stds == pytest.approx([0.83] * 10, rel=0.15)


@pytest.mark.parametrize(
    ("kind", "settings", "variance"),
    [
        ("small_random", {"std": 0.02}, 0.02**2),
        ("xavier", {"fan": "in"}, 1 / (16 * 9)),
        ("xavier", {"fan": "average"}, 2 / (16 * 9 + 64 * 9)),
        ("xavier", {"fan": "average", "distribution": "uniform"}, 2 / (16 * 9 + 64 * 9)),
        ("he", {}, 2 / (16 * 9)),
        ("he", {"distribution": "uniform"}, 2 / (16 * 9)),
    ],
)
def test_a_convolution_has_the_variance_of_its_fans(kind: str, settings: dict[str, object], variance: float) -> None:
    weights = draw(initialization(kind, **settings), torch.Size([64, 16, 3, 3]), generator("cpu", 1, "x"))

    assert float(weights.var()) == pytest.approx(variance, rel=0.05)
    assert abs(float(weights.mean())) < 4 * sqrt(variance / weights.numel())


def test_he_normal_is_randn_times_the_root_of_2_over_fan_in() -> None:
    shape = torch.Size([5, 7])

    weights = draw(initialization("he"), shape, generator("cpu", 1, "x"))

    assert torch.equal(weights, torch.randn(shape, generator=generator("cpu", 1, "x")) * sqrt(2 / 7))


def test_uniform_weights_stay_within_their_bound() -> None:
    weights = draw(initialization("he", distribution="uniform"), torch.Size([100, 50]), generator("cpu", 1, "x"))

    assert float(weights.abs().max()) <= sqrt(6 / 50)


def test_fans_of_a_convolution_count_its_kernel() -> None:
    assert fans(torch.Size([8, 3, 5, 5])) == (75, 200)


def network(kind: str, seed: int = 1) -> nn.Sequential:
    chosen = spec(network={"kind": "convnet", "channels": [4, 4], "batch_norm": {}, "initialization": {"kind": kind}})
    model = skeleton(chosen, (1, 8, 8), 4)
    initialize(model, chosen.network.initialization, seed)
    return model


def values(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters())


def test_constant_weights_are_all_equal() -> None:
    weights = values(network("constant"))["conv2.weight"]

    assert torch.equal(weights, torch.full_like(weights, 0.01))


def test_biases_start_at_zero_and_batch_norm_at_the_identity() -> None:
    found = values(network("he"))

    for name in ("conv1.bias", "output.bias", "norm1.bias"):
        assert found[name].abs().max() == 0, name
    assert torch.equal(found["norm1.weight"], torch.ones(4))


def test_the_seed_decides_and_layers_draw_apart() -> None:
    one, again, other = (values(network("he", seed))["conv2.weight"] for seed in (1, 1, 2))

    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one[:, :1], values(network("he"))["conv1.weight"])


@pytest.mark.parametrize("gain", [1.0, 1.5])
@pytest.mark.parametrize("shape", [(7, 7), (5, 40), (40, 5), (8, 4, 3, 3), (64, 4, 3, 3)])
def test_orthogonal_weights_times_their_transpose_are_the_identity_times_gain_squared(
    shape: tuple[int, ...], gain: float
) -> None:
    matrix = draw(initialization("orthogonal", gain=gain), torch.Size(shape), generator("cpu", 1, "x")).flatten(1)

    smaller = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    assert torch.allclose(smaller @ smaller.T, gain**2 * torch.eye(len(smaller)), atol=1e-5)


def test_an_orthogonal_draw_has_the_sign_of_the_normal_one_it_comes_from() -> None:
    shape = torch.Size([1, 1])

    for number in range(20):
        normal = torch.randn(shape, generator=generator("cpu", number, "x"))
        assert draw(initialization("orthogonal"), shape, generator("cpu", number, "x")) == normal.sign()


def test_a_random_walks_gains_are_those_of_the_paper() -> None:
    assert random_walk_gain(100, is_linear=True) == pytest.approx(1.0050125)
    assert random_walk_gain(100, is_linear=False) == pytest.approx(1.4317087)
    assert random_walk_gain(3, is_linear=False) == random_walk_gain(6, is_linear=False) == sqrt(2) * exp(1.2 / 3.6)


def test_a_random_walk_draws_normal_weights_of_gain_over_the_root_of_fan_in() -> None:
    shape = torch.Size([5, 7, 3, 3])
    normal = torch.randn(shape, generator=generator("cpu", 1, "x"))

    by_formula = draw(initialization("random_walk"), shape, generator("cpu", 1, "x"))
    by_hand = draw(initialization("random_walk", gain=1.2), shape, generator("cpu", 1, "x"))

    assert torch.equal(by_formula, normal * (sqrt(2) * exp(1.2 / (63 - 2.4)) / sqrt(63)))
    assert torch.equal(by_hand, normal * (1.2 / sqrt(63)))


@pytest.mark.parametrize(("hidden", "is_linear"), [([7], False), ([], True)])
def test_a_network_without_nonlinearities_walks_by_the_linear_gain(hidden: list[int], is_linear: bool) -> None:
    chosen = spec(network={"kind": "mlp", "hidden": hidden, "initialization": {"kind": "random_walk"}})
    model = skeleton(chosen, (1, 8, 8), 4)

    initialize(model, chosen.network.initialization, 1)

    first = draw(
        chosen.network.initialization,
        torch.Size([hidden[0] if hidden else 4, 64]),
        generator("cpu", 1, "initialize", 0),
        is_linear=is_linear,
    )
    assert torch.equal(next(iter(values(model).values())), first)


def back_propagated(kind: str, units: int, depth: int, seed: int) -> list[float]:
    """Norms of the gradient by the outputs of `depth` ReLU layers, from the last to the first."""
    network = {"kind": "mlp", "hidden": [units] * depth, "initialization": {"kind": kind}}
    chosen = spec(network=network, preprocessing={"centre": "none", "scale": False})
    model = skeleton(chosen, (1, 8, 8), units)
    initialize(model, chosen.network.initialization, seed)
    outputs: list[Tensor] = []
    for name, layer in model.named_children():
        if name.startswith("hidden"):
            layer.register_forward_hook(lambda _, __, output: outputs.append(output))
    logits = model(torch.ones(1, 1, 8, 8, dtype=torch.uint8))
    direction = torch.randn(logits.shape, generator=generator("cpu", seed, "direction"))
    return [float(gradient.norm()) for gradient in torch.autograd.grad(logits, outputs[::-1], direction)]


def test_a_random_walk_keeps_the_gradient_norm_of_200_layers_within_a_decade() -> None:
    norms = back_propagated("random_walk", 400, 200, 1)

    assert len(norms) == 200
    assert all(norms[0] / 10 < norm < norms[0] * 10 for norm in norms)


def test_the_log_of_a_random_walks_norm_is_unbiased_where_he_falls() -> None:
    def drift(kind: str) -> float:
        runs = [back_propagated(kind, 24, 60, seed) for seed in range(24)]
        return sum(log(norms[-1] / norms[0]) for norms in runs) / len(runs)

    assert abs(drift("random_walk")) < 1.1
    assert drift("he") < -2.2
