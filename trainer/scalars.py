"""Single learned numbers for whole layers, in place of normalisation (Zhang 2019)."""

import torch
from torch import Tensor, nn


class ScalarBias(nn.Module):
    """Adds one number, 0 at first, to every unit."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, units: Tensor) -> Tensor:
        return units + self.bias


class ScalarMultiplier(nn.Module):
    """Multiplies every unit by one number, 1 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, units: Tensor) -> Tensor:
        return units * self.weight
