"""How weights start. Biases start at zero, batch norm at scale one and shift zero."""

from math import sqrt
from typing import assert_never

import torch
from torch import Tensor, nn

from trainer.randomness import generator
from trainer.spec import (
    ConstantInitialization,
    HeInitialization,
    Initialization,
    SmallRandomInitialization,
    XavierInitialization,
)


def initialize(model: nn.Module, initialization: Initialization, seed: int) -> None:
    """Set the weights of every convolution and linear layer of a `model` on the CPU, in place.

    Each layer draws from a generator of its own, so that a layer more leaves the others as they were. Drawn on the
    CPU, weights start equal whatever they are trained on.
    """
    weighted = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for index, module in enumerate(weighted):
        with torch.no_grad():
            module.weight.copy_(draw(initialization, module.weight.shape, generator("cpu", seed, "initialize", index)))
            if module.bias is not None:
                module.bias.zero_()


def draw(initialization: Initialization, shape: torch.Size, source: torch.Generator) -> Tensor:
    """Weights of `shape` (out, in, …): each kind's rule and source stand in `trainer.spec`."""
    match initialization:
        case ConstantInitialization(value=value):
            return torch.full(shape, value)
        case SmallRandomInitialization(std=std):
            return torch.randn(shape, generator=source) * std
        case XavierInitialization(distribution=distribution, fan=fan):
            fan_in, fan_out = fans(shape)
            variance = 1 / fan_in if fan == "in" else 2 / (fan_in + fan_out)
            return _spread(shape, variance, distribution, source)
        case HeInitialization(distribution=distribution):
            return _spread(shape, 2 / fans(shape)[0], distribution, source)
        case _:
            assert_never(initialization)


def fans(shape: torch.Size) -> tuple[int, int]:
    """Fan in and fan out of weights (out, in, …): inputs of a unit, and units that an input reaches."""
    receptive = shape[2:].numel()
    return shape[1] * receptive, shape[0] * receptive


def _spread(shape: torch.Size, variance: float, distribution: str, source: torch.Generator) -> Tensor:
    if distribution == "normal":
        return torch.randn(shape, generator=source) * sqrt(variance)
    bound = sqrt(3 * variance)
    return (torch.rand(shape, generator=source) * 2 - 1) * bound
