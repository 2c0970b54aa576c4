"""Where a network's values stop being finite."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainer.events import CheckpointReady
from trainer.learner import Learner

Finding = tuple[str, Tensor]
"""A layer's name, and whether all its values are finite."""


def are_finite(model: nn.Module) -> bool:
    """Whether all weights are, and all statistics."""
    tensors = [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())


def locate(learner: Learner, checkpoint: CheckpointReady | None, done: int) -> str | None:
    """The layer in which the step after `done` of the epoch in hand first finds a value that is not finite.

    By now such values have spread to all weights: what was trained since the last checkpoint, or the very start, is
    trained once more, up to that step.
    """
    if checkpoint is None:
        learner.begin(0)
    else:
        # Its tensors may still be on their way to a file.
        learner.restore({name: tensor.clone() for name, tensor in checkpoint.tensors.items()}, checkpoint.facts)
    learner.model.train()
    names = {row.name for row in learner.plan.layers}
    for images, labels in learner.rest_of_epoch():
        if learner.done == done:
            changed, _ = learner.drawn(images, labels, slice(0, len(images)))
            return first_not_finite(learner.model, names, changed, learner.executor.eager)
        learner.train(images, labels)
    raise IndexError(f"the epoch has no step {done + 1}")


@torch.no_grad()
def first_not_finite(
    model: nn.Module, names: Collection[str], images: Tensor, run: Callable[[Tensor], Tensor] | None = None
) -> str | None:
    """Of the layers `names`, the first in the order of the forward pass whose weights or outputs are not finite.

    None where all are. The model runs once on images (N, C, H, W), by `run` where it is given, in the mode that it is
    in: in training, batch norm counts the batch.
    """
    with _watched(model, names) as found:
        (run or model)(images)
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
