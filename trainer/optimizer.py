"""Updates by torch.optim, set up so that each momentum form follows the rule written in the spec."""

from collections.abc import Iterable
from typing import Any, assert_never

import torch
from torch import nn

from trainer.spec import (
    AveragedMomentum,
    ClassicalMomentum,
    Momentum,
    NesterovMomentum,
    NoMomentum,
    Regularization,
    Sgd,
)

BUFFER = "momentum_buffer"


def make(model: nn.Module, spec: Sgd, regularization: Regularization) -> torch.optim.SGD:
    """The optimizer for a `model` that is on its device. The learning rate is set at each step."""
    optimizer = torch.optim.SGD(_groups(model, regularization), lr=0.0, fused=True, **_arguments(spec.momentum))
    if isinstance(spec.momentum, AveragedMomentum) and spec.momentum.start == "zero":
        # torch seeds the buffer with the whole first gradient; the rule starts at zero.
        for parameter in model.parameters():
            optimizer.state[parameter][BUFFER] = torch.zeros_like(parameter)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def _arguments(momentum: Momentum) -> dict[str, Any]:
    match momentum:
        case NoMomentum():
            return {}
        case AveragedMomentum(b=b):
            return {"momentum": 1 - b, "dampening": 1 - b}
        case ClassicalMomentum(m=m):
            return {"momentum": m}
        case NesterovMomentum(m=m):
            return {"momentum": m, "nesterov": True}
        case _:
            assert_never(momentum)


def _groups(model: nn.Module, regularization: Regularization) -> Iterable[dict[str, Any]]:
    """Weights decay; biases and batch-norm parameters, which have one dimension, only where it is asked for."""
    decay = regularization.weight_decay
    spared = decay if regularization.decay_biases_and_norms else 0.0
    parameters = list(model.parameters())
    yield {"params": [item for item in parameters if item.ndim > 1], "weight_decay": decay}
    yield {"params": [item for item in parameters if item.ndim <= 1], "weight_decay": spared}
