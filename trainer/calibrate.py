"""Initial weights made to fit what a batch of images makes of them, on the CPU and layer by layer.

Layers are taken as they run, each after those before it are done. Batch norm, if there is any, normalises by the batch
and counts nothing; dropout is off.
"""

from collections.abc import Callable
from math import exp, fsum, isfinite, log, sqrt

import torch
from torch import Tensor, nn

from trainer.errors import InitializationFailed
from trainer.inspect import looking
from trainer.randomness import generator
from trainer.spec import LsuvInitialization

MOST_ROUNDS = 10
"""Of scaling between layers (Krähenbühl 2015)."""
EVEN = log(1.01)
"""How far apart, as logarithms, the paces of layers may stay."""

Weighted = nn.Conv2d | nn.Linear


def weighted(model: nn.Module) -> list[Weighted]:
    """The convolutions and linear layers of `model`, or itself if it is one, in the order of its modules."""
    return [module for module in model.modules() if isinstance(module, Weighted)]


def to_unit_variance(model: nn.Module, images: Tensor, chosen: LsuvInitialization) -> None:
    """Scale each layer until its outputs have variance 1 (Mishkin and Matas 2015). Raises `InitializationFailed`."""

    def scale(layer: Weighted, units: Tensor) -> None:
        for _ in range(chosen.max_iterations):
            variance = _usable(layer.forward(units).var(correction=0))
            layer.weight.div_(variance.sqrt())
            if abs(float(variance) - 1) < chosen.tolerance:
                break

    _as_they_run(model, images, scale)


def within_layers(model: nn.Module, images: Tensor) -> None:
    """Bring each channel's outputs to mean 0 and standard deviation 1 (Krähenbühl 2015, algorithm 1).

    Every layer must have biases, which are zero. Raises `InitializationFailed`.
    """

    def normalize(layer: Weighted, units: Tensor) -> None:
        std, mean = torch.std_mean(_by_channel(layer.forward(units)), dim=1, correction=0)
        _usable(std)
        layer.weight.div_(std.view(-1, *[1] * (layer.weight.ndim - 1)))
        layer.get_parameter("bias").copy_(-mean / std)

    _as_they_run(model, images, normalize)


def between_layers(model: nn.Module, images: Tensor, seed: int) -> None:
    """Scale whole layers until all have one pace (Krähenbühl 2015, algorithm 2). Raises `InitializationFailed`.

    Scaling a layer's weights by r divides its pace by r²; the factors of all layers multiply to about 1. As in the
    authors' program the mean is corrected by the spread of the logits, which a network that is not homogeneous would
    let drift, and biases follow the scale of what their layer is given.
    """
    layers = weighted(model)
    given = _input_scales(model, images)
    for number in range(MOST_ROUNDS):
        paces, spread = _paces(model, images, generator("cpu", seed, "between_layers", number))
        target = fsum(map(log, paces)) / len(paces) + log(spread) / len(paces)
        if all(abs(log(pace) - target) < EVEN for pace in paces):
            return
        factors = {layer: sqrt(pace / exp(target)) for layer, pace in zip(layers, paces, strict=True)}
        given = _rescale(model, images, factors, given)


def paces(model: nn.Module, images: Tensor, source: torch.Generator) -> list[float]:
    """Of each layer the root mean square of its weights' gradients over that of its weights.

    The gradients are those of a random linear function of the logits, drawn from `source` (Krähenbühl 2015).
    """
    return _paces(model, images, source)[0]


def _paces(model: nn.Module, images: Tensor, source: torch.Generator) -> tuple[list[float], float]:
    """The paces, and the standard deviation of the logits over the images, averaged over the classes."""
    weights = [layer.weight for layer in weighted(model)]
    with looking(model), torch.enable_grad():
        logits = model(images)
        loss = (logits * torch.randn(logits.shape, generator=source)).sum()
        gradients = torch.autograd.grad(loss, weights)
    found = [
        float(_usable((gradient.square().mean() / weight.detach().square().mean()).sqrt()))
        for gradient, weight in zip(gradients, weights, strict=True)
    ]
    return found, float(_usable(logits.detach().std(dim=0, correction=0).mean()))


def _input_scales(model: nn.Module, images: Tensor) -> dict[Weighted, float]:
    """The mean magnitude of what each layer is given."""
    found: dict[Weighted, float] = {}

    def note(layer: Weighted, units: Tensor) -> None:
        found[layer] = float(_usable(units.abs().mean()))

    _as_they_run(model, images, note)
    return found


def _rescale(
    model: nn.Module, images: Tensor, factors: dict[Weighted, float], given: dict[Weighted, float]
) -> dict[Weighted, float]:
    """Multiply each layer by its factor; returns the scales of what each is given then."""
    found: dict[Weighted, float] = {}

    def scale(layer: Weighted, units: Tensor) -> None:
        found[layer] = float(_usable(units.abs().mean()))
        layer.weight.mul_(factors[layer])
        layer.get_parameter("bias").mul_(factors[layer] * found[layer] / given[layer])

    _as_they_run(model, images, scale)
    return found


def _as_they_run(model: nn.Module, images: Tensor, change: Callable[[Weighted, Tensor], None]) -> None:
    """Run `model` on `images` (N, C, H, W) uint8, calling `change` with each layer and its input before it runs."""
    hooks = [layer.register_forward_pre_hook(lambda layer, given: change(layer, given[0])) for layer in weighted(model)]
    try:
        with looking(model), torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()


def _by_channel(outputs: Tensor) -> Tensor:
    """Outputs (N, channels, …) as (channels, values)."""
    return outputs.transpose(0, 1).flatten(1)


def _usable(figures: Tensor) -> Tensor:
    """Figures to divide by. Raises `InitializationFailed` where one is zero or not finite."""
    if not all(isfinite(figure) and figure > 0 for figure in figures.flatten().tolist()):
        raise InitializationFailed(
            "The images that the initialization looks at leave a layer without variance in its outputs or gradients."
        )
    return figures
