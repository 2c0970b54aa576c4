"""Looks inside a network: how outputs and gradients are spread in each layer, on one batch.

Looking changes nothing: batch norm uses the batch's statistics without counting them, dropout is off, no generator is
drawn from, no gradient stays.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import isfinite, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.events import HISTOGRAM_EDGES, Distribution, LayerStatistics
from trainer.layers import LayerRow

MOST_COUNTED = 1_024
"""Values of a tensor that a histogram counts; of larger ones every so many-th."""

BOUNDS = {nn.Tanh: (-1.0, 1.0), nn.Sigmoid: (0.0, 1.0)}
NEAR = 0.01

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Seen:
    """A layer's module, what it put out, and the gradient of the loss by that."""

    module: nn.Module
    output: Tensor
    gradient: Tensor


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights as they are now, to see the size of an update by."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def inspect(
    model: nn.Module,
    rows: Sequence[LayerRow],
    images: Tensor,
    labels: Tensor,
    before: Weights | None = None,
) -> tuple[LayerStatistics, ...]:
    """Statistics of the layers in `rows` that have weights or a nonlinearity, on images (N, C, H, W) uint8.

    `before` has the weights from before the last update.
    """
    shown = [row for row in rows if row.weights or row.kind == "Activation"]
    modules = dict(model.named_modules())
    with looking(model), _watched([modules[row.name] for row in shown]) as outputs:
        loss = functional.cross_entropy(model(images), labels)
        weights = [modules[row.name].weight for row in shown if row.weights]
        found = torch.autograd.grad(loss, [*outputs, *weights])
    gradients = iter(found[len(outputs) :])
    return tuple(
        _statistics(
            row,
            _Seen(modules[row.name], output.detach(), gradient),
            next(gradients) if row.weights else None,
            before[f"{row.name}.weight"] if before and row.weights else None,
        )
        for row, output, gradient in zip(shown, outputs, found, strict=False)
    )


@torch.no_grad()
def inputs(model: nn.Module, images: Tensor) -> Distribution:
    """What the first layer is given for images (N, C, H, W) uint8."""
    return distribution(model.get_submodule("preprocessing")(images))


@contextmanager
def looking(model: nn.Module) -> Iterator[None]:
    """Evaluation, but for batch norm, which normalises by the batch as it does in training; nothing is frozen."""
    was_training = model.training
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    model.eval()
    for parameter in frozen:
        parameter.requires_grad_(True)
    for norm in norms:
        norm.train()
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        for parameter in frozen:
            parameter.requires_grad_(False)
        model.train(was_training)


@contextmanager
def _watched(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collects what each module puts out, in the order of `modules`."""
    outputs: dict[nn.Module, Tensor] = {}
    ordered: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda module, _, output: outputs.update({module: output})) for module in modules
    ]
    last = modules[-1].register_forward_hook(lambda *_: ordered.extend(outputs[module] for module in modules))
    try:
        yield ordered
    finally:
        for hook in (*hooks, last):
            hook.remove()


def _statistics(row: LayerRow, seen: _Seen, gradient: Tensor | None, before: Tensor | None) -> LayerStatistics:
    kind = type(seen.module)
    weight = seen.module.get_parameter("weight").detach() if gradient is not None else None
    return LayerStatistics(
        index=row.index,
        name=row.name,
        kind=row.kind,
        activations=distribution(seen.output),
        gradients=distribution(seen.gradient),
        dead=dead(seen.output) if kind is nn.ReLU else None,
        saturated=saturated(seen.output, BOUNDS[kind]) if kind in BOUNDS else None,
        symmetric=symmetric(weight) if weight is not None and weight.ndim > 1 else None,
        weight_norm=None if weight is None else _figure(weight.norm()),
        gradient_norm=None if gradient is None else _figure(gradient.norm()),
        update_ratio=None if weight is None or before is None else _ratio(weight, before),
    )


def distribution(values: Tensor) -> Distribution:
    """Mean, standard deviation and histogram of a tensor of any shape."""
    # In the order in which images lie in memory, nothing is copied.
    has_channels_last = values.ndim == 4 and not values.is_contiguous()
    flat = (values.permute(0, 2, 3, 1) if has_channels_last else values).flatten()
    mean = flat.mean()
    std = torch.linalg.vector_norm(flat - mean) / sqrt(len(flat))
    counted = flat[:: -(-len(flat) // MOST_COUNTED)].contiguous()
    bins = torch.bucketize(counted, _edges(values.device))
    counts = torch.bincount(bins, minlength=len(HISTOGRAM_EDGES) + 1)
    return Distribution(_figure(mean), _figure(std), tuple(counts.tolist()))


@cache
def _edges(device: torch.device) -> Tensor:
    """Of the histogram's bins: the same for every layer, and on a GPU a copy from the host."""
    return torch.tensor(HISTOGRAM_EDGES, device=device)


def dead(outputs: Tensor) -> float:
    """Share of units, or channels of images, whose ReLU puts out zero for every image of the batch (N, units, …)."""
    # Nothing is negative, so the sum tells the same as the largest, in a tenth of its time.
    total = outputs.sum(dim=(0, *range(2, outputs.ndim)))
    return float((total == 0).float().mean())


def saturated(outputs: Tensor, bounds: tuple[float, float]) -> float:
    """Share of outputs within `NEAR` of the range of a bounded nonlinearity."""
    lowest, highest = bounds
    margin = NEAR * (highest - lowest)
    return float(((outputs < lowest + margin) | (outputs > highest - margin)).float().mean())


def symmetric(weight: Tensor) -> bool:
    """Whether weights (units, …) of several units are the same for all of them."""
    return len(weight) > 1 and torch.equal(weight, weight[:1].expand_as(weight))


def _ratio(weight: Tensor, before: Tensor) -> float | None:
    return _figure((weight - before).norm() / before.norm())


def _figure(value: Tensor) -> float | None:
    figure = float(value)
    return figure if isfinite(figure) else None
