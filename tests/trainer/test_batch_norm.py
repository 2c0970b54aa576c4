"""Batch norm as the networks use it."""

import pytest
import torch

from tests.specs import dataset, spec
from trainer import data
from trainer.build import skeleton
from trainer.errors import Diverged
from trainer.events import EpochFinished
from trainer.initialize import initialize
from trainer.spec import TrainingSpec
from trainer.train import train

NORMALIZED: dict[str, object] = {
    "kind": "convnet",
    "channels": [4],
    "batch_norm": {"epsilon": 1e-3, "momentum": 0.25},
}


def network(chosen: TrainingSpec) -> torch.nn.Sequential:
    model = skeleton(chosen, (1, 8, 8), 4)
    initialize(model, chosen.network.initialization, 1)
    return model


def test_an_image_gives_the_same_prediction_alone_and_inside_any_batch() -> None:
    images = torch.tensor(dataset().train.images)
    model = network(spec(network=NORMALIZED))
    model(images)
    model.eval()

    together, alone = model(images), torch.cat([model(image[None]) for image in images])

    assert torch.allclose(together, alone, atol=1e-5)


def test_gamma_and_beta_can_recover_the_identity() -> None:
    model = network(spec(network=NORMALIZED))
    norm = model.get_submodule("norm1")
    units = torch.randn(64, 4, 5, 5, generator=torch.Generator().manual_seed(1)) * 3 + 1
    with torch.no_grad():
        norm.weight.copy_((units.var((0, 2, 3), correction=0) + 1e-3).sqrt())
        norm.bias.copy_(units.mean((0, 2, 3)))

    assert torch.allclose(norm(units), units, atol=1e-4)


def test_epsilon_and_momentum_are_those_of_the_spec() -> None:
    norm = network(spec(network=NORMALIZED)).get_submodule("norm1")
    units = torch.randn(64, 4, 5, 5, generator=torch.Generator().manual_seed(1)) + 2

    out = norm(units)

    mean, variance = units.mean((0, 2, 3)), units.var((0, 2, 3), correction=0)
    expected = (units - mean[:, None, None]) / (variance + 1e-3).sqrt()[:, None, None]
    assert torch.allclose(out, expected, atol=1e-5)
    assert torch.allclose(norm.running_mean, 0.25 * mean, atol=1e-6)


def test_forward_backward_and_running_averages_are_those_worked_out_in_float64() -> None:
    norm = network(spec(network=NORMALIZED | {"channels": [3]})).get_submodule("norm1")
    draws = torch.Generator().manual_seed(1)
    x, dy = (torch.randn(6, 3, 4, 5, generator=draws, dtype=torch.float64) * 2 + 0.5 for _ in range(2))
    gamma, beta = (torch.randn(3, generator=draws, dtype=torch.float64) for _ in range(2))
    with torch.no_grad():
        norm.weight.copy_(gamma)
        norm.bias.copy_(beta)
    units = x.float().requires_grad_(True)

    out = norm(units)
    out.backward(dy.float())

    over = (0, 2, 3)
    scale = (x.var(over, correction=0, keepdim=True) + 1e-3).rsqrt()
    x_hat = (x - x.mean(over, keepdim=True)) * scale
    g = gamma.view(1, -1, 1, 1)
    # Ioffe and Szegedy 2015, with the terms of mean and variance put together.
    dx = g * scale * (dy - dy.mean(over, keepdim=True) - x_hat * (dy * x_hat).mean(over, keepdim=True))
    assert units.grad is not None
    torch.testing.assert_close(out.double(), g * x_hat + beta.view(1, -1, 1, 1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(units.grad.double(), dx, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.weight.grad.double(), (dy * x_hat).sum(over), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(norm.bias.grad.double(), dy.sum(over), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(norm.running_mean.double(), 0.25 * x.mean(over), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(norm.running_var.double(), 0.75 + 0.25 * x.var(over), rtol=1e-6, atol=1e-6)


def test_running_averages_forget_by_the_momentum() -> None:
    norm = network(spec(network=NORMALIZED)).get_submodule("norm1")
    draws = torch.Generator().manual_seed(2)
    mean, variance = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)

    for _ in range(5):
        units = torch.randn(8, 4, 3, 3, generator=draws) * 3 + 1
        norm(units)
        mean = 0.75 * mean + 0.25 * units.double().mean((0, 2, 3))
        variance = 0.75 * variance + 0.25 * units.double().var((0, 2, 3))

    torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.running_var.double(), variance, rtol=1e-5, atol=1e-5)


def accuracy(std: float, *, batch_norm: bool) -> float:
    """Of a perceptron of six hidden layers on digits after three epochs; 0 when it has diverged."""
    chosen = spec(
        network={
            "kind": "mlp",
            "hidden": [64] * 6,
            "initialization": {"kind": "small_random", "std": std},
            "batch_norm": {} if batch_norm else None,
        },
        schedule={"kind": "constant", "learning_rate": 0.05},
        ensemble={"kind": "none"},
        epochs=3,
        batch_size=64,
    )
    try:
        events = list(train(chosen, data.load("mnist5k"), device=torch.device("cpu")))
    except Diverged:
        return 0.0
    return [event.validation_accuracy for event in events if isinstance(event, EpochFinished)][-1]


@pytest.mark.parametrize("std", [0.001, 0.01, 1.0])
def test_a_badly_initialized_deep_net_trains_with_batch_norm_and_not_without(std: float) -> None:
    assert accuracy(std, batch_norm=True) > 0.7
    assert accuracy(std, batch_norm=False) < 0.3
