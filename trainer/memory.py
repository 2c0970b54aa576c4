"""How much memory a training step takes, by arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from trainer.layers import LayerRow, parameters
from trainer.spec import AdaGrad, Adam, AdamW, NoMomentum, Optimizer, RmsProp, Sgd, TrainingSpec, WeightAveraging

BYTES = 4
"""Of a float32."""

PRECISION_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Of a value in what a step computes in."""


@dataclass(frozen=True)
class Memory:
    """Bytes on each device in the midst of a training step, estimated.

    `weights` counts a pruned network's mask, the running average of weights and, in half precision, the rounded copies;
    `activations` is what the device's part of a full batch keeps until the backward pass. The data set, the libraries'
    work space and the framework itself come on top.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations


def estimate(spec: TrainingSpec, rows: Sequence[LayerRow]) -> Memory:
    """For batches of the spec's size through the layers of `rows`."""
    weights = parameters(rows)
    of_a_value = PRECISION_BYTES[spec.execution.precision]
    copies = of_a_value * weights if of_a_value < BYTES else 0
    part = -(-spec.batch_size // spec.devices)
    kept = 1 + bool(spec.pruning) + isinstance(spec.ensemble, WeightAveraging)
    return Memory(
        weights=BYTES * weights * kept + copies,
        gradients=BYTES * weights,
        optimizer=BYTES * weights * state_tensors(spec.optimizer),
        activations=of_a_value * part * sum(row.activations for row in rows),
    )


def state_tensors(optimizer: Optimizer) -> int:
    """How many numbers an optimizer keeps of each weight between steps."""
    match optimizer:
        case Sgd(momentum=NoMomentum()):
            return 0
        case Sgd() | AdaGrad():
            return 1
        case RmsProp(momentum=momentum, centered=centered):
            return 1 + (momentum > 0) + centered
        case Adam(amsgrad=amsgrad) | AdamW(amsgrad=amsgrad):
            return 2 + amsgrad
        case _:
            assert_never(optimizer)
