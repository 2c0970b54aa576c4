"""How weights start. Biases start at zero, batch norm at scale one and shift zero."""

from math import exp, sqrt
from typing import assert_never

import torch
from torch import Tensor, nn

from trainer import calibrate
from trainer.data import Images
from trainer.randomness import generator
from trainer.residual import Residual
from trainer.spec import (
    ConstantInitialization,
    DataDependentInitialization,
    FixupInitialization,
    HeInitialization,
    Initialization,
    LsuvInitialization,
    OrthogonalInitialization,
    RandomWalkInitialization,
    SmallRandomInitialization,
    XavierInitialization,
)

NONLINEARITIES = (nn.ReLU, nn.Tanh, nn.Sigmoid)


def initialize(model: nn.Module, initialization: Initialization, seed: int, images: Images | None = None) -> None:
    """Set the weights of every convolution and linear layer of a `model` on the CPU, in place.

    Each layer draws from a generator of its own, so that a layer more leaves the others as they were. Drawn on the
    CPU, weights start equal whatever they are trained on. Kinds that look at images take the first of `images`
    (N, C, H, W) uint8, the training split, which others need not be given. Raises `InitializationFailed`.
    """
    is_linear = not any(isinstance(module, NONLINEARITIES) for module in model.modules())
    for index, module in enumerate(calibrate.weighted(model)):
        source = generator("cpu", seed, "initialize", index)
        with torch.no_grad():
            module.weight.copy_(draw(initialization, module.weight.shape, source, is_linear=is_linear))
            if module.bias is not None:
                module.bias.zero_()
    match initialization:
        case LsuvInitialization():
            calibrate.to_unit_variance(model, _first(images, initialization.images), initialization)
        case DataDependentInitialization():
            seen = _first(images, initialization.images)
            calibrate.within_layers(model, seen)
            if initialization.between_layers:
                calibrate.between_layers(model, seen, seed)
        case FixupInitialization():
            _fix_up(model)


def draw(
    initialization: Initialization, shape: torch.Size, source: torch.Generator, *, is_linear: bool = False
) -> Tensor:
    """Weights of `shape` (out, in, …): each kind's rule and source stand in `trainer.spec`.

    `is_linear` tells that the network has no nonlinearity. Of kinds that look at more than one layer this is the draw
    that they set out from.
    """
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
        case OrthogonalInitialization(gain=gain):
            return orthogonal(shape, source) * gain
        case RandomWalkInitialization(gain=gain):
            fan_in, _ = fans(shape)
            gain = gain or random_walk_gain(fan_in, is_linear=is_linear)
            return torch.randn(shape, generator=source) * (gain / sqrt(fan_in))
        case LsuvInitialization():
            return orthogonal(shape, source)
        case DataDependentInitialization():
            return torch.randn(shape, generator=source)
        case FixupInitialization():
            return _spread(shape, 2 / fans(shape)[0], "normal", source)
        case _:
            assert_never(initialization)


def fans(shape: torch.Size) -> tuple[int, int]:
    """Fan in and fan out of weights (out, in, …): inputs of a unit, and units that an input reaches."""
    receptive = shape[2:].numel()
    return shape[1] * receptive, shape[0] * receptive


def orthogonal(shape: torch.Size, source: torch.Generator) -> Tensor:
    """A random matrix (out, rest) with orthonormal rows, or columns where those are fewer, as `shape` (out, …).

    The sign of R's diagonal, which a QR decomposition leaves open, is made positive, so that the draw is even over all
    such matrices (Mezzadri 2006) and the same whatever library decomposes.
    """
    rows, columns = shape[0], shape[1:].numel()
    normal = torch.randn(max(rows, columns), min(rows, columns), generator=source)
    q, r = torch.linalg.qr(normal.double())
    even: Tensor = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
    return (even if rows >= columns else even.T).reshape(shape).float()


def random_walk_gain(fan_in: int, *, is_linear: bool) -> float:
    """The gain of a layer in a network without nonlinearities, or of ReLUs (Sussillo and Abbott 2014)."""
    if is_linear:
        return exp(1 / (2 * fan_in))
    return sqrt(2) * exp(1.2 / (max(fan_in, 6) - 2.4))


def _spread(shape: torch.Size, variance: float, distribution: str, source: torch.Generator) -> Tensor:
    if distribution == "normal":
        return torch.randn(shape, generator=source) * sqrt(variance)
    bound = sqrt(3 * variance)
    return (torch.rand(shape, generator=source) * 2 - 1) * bound


def _first(images: Images | None, count: int) -> Tensor:
    if images is None:
        raise ValueError("this initialization looks at images, and none are given")
    return torch.tensor(images[:count])


def _fix_up(model: nn.Module) -> None:
    """Scale branches, zero the last layer of each and the output (Zhang 2019)."""
    residuals = [module for module in model.modules() if isinstance(module, Residual)]
    with torch.no_grad():
        for residual in residuals:
            *most, last = [layer for module in residual.branch for layer in calibrate.weighted(module)]
            for layer in most:
                layer.weight.mul_(len(residuals) ** (-1 / (2 * len(most))))
            last.weight.zero_()
        calibrate.weighted(model)[-1].weight.zero_()
