"""What keeps weights and gradients small, in place and with no value read from the device.

L2 and AdamW's decay are torch.optim's own; see `trainer.optimizer` for the order within a step.
"""

from collections.abc import Sequence

import torch
from torch import nn


@torch.no_grad()
def add_l1(parameters: Sequence[nn.Parameter], strength: float) -> None:
    """`dx += strength * sign(x)`, a subgradient of `strength * |x|`."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.add_(parameter.sign(), alpha=strength)


@torch.no_grad()
def decay(parameters: Sequence[nn.Parameter], share: float) -> None:
    """`x -= share * x` (Loshchilov and Hutter 2019)."""
    # All at once: equal to the bit, and quicker where weights are many and small. L1's signs at once would take as much
    # memory as the weights, and longer.
    torch._foreach_mul_(list(parameters), 1 - share)


@torch.no_grad()
def limit_norms(parameters: Sequence[nn.Parameter], largest: float) -> None:
    """`||w|| <= largest` for the weights into each unit and of each filter (out, in, …) (Srivastava 2014)."""
    for parameter in parameters:
        parameter.renorm_(p=2, dim=0, maxnorm=largest)
