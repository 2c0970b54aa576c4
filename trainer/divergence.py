"""Where a network's values stop being finite."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Finding = tuple[str, Tensor]
"""A layer's name, and whether all its values are finite."""


@torch.no_grad()
def first_not_finite(model: nn.Module, names: Collection[str], images: Tensor) -> str | None:
    """Of the layers `names`, the first in the order of the forward pass whose weights or outputs are not finite.

    None where all are. The model runs once on images (N, C, H, W), in the mode that it is in: in training, batch norm
    counts the batch.
    """
    with _watched(model, names) as found:
        model(images)
    finite = torch.stack([is_finite for _, is_finite in found]).tolist()
    return next((name for (name, _), is_finite in zip(found, finite, strict=True) if not is_finite), None)


@contextmanager
def _watched(model: nn.Module, names: Collection[str]) -> Iterator[list[Finding]]:
    """Collects what is found of each layer, as it has run."""
    found: list[Finding] = []

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def look(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            values = (output, *module.parameters())
            found.append((name, torch.stack([value.isfinite().all() for value in values]).all()))

        return module.register_forward_hook(look)

    hooks = [watch(name, module) for name, module in model.named_modules() if name in names]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
