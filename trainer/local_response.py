"""Local response normalisation across channels (Krizhevsky 2012)."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class LocalResponseNorm(nn.Module):
    """`x / (k + alpha * sum of squares over size neighbouring channels) ** beta`, of images (N, C, H, W).

    alpha multiplies the sum, as in the paper; torch's own divides it by the size, and its gradient is not
    deterministic on a GPU.
    """

    def __init__(self, size: int, alpha: float, beta: float, k: float) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, units: Tensor) -> Tensor:
        # The squares of half-precision units may be too large for it.
        units = units.to(torch.promote_types(units.dtype, torch.float32))
        channels = units.shape[1]
        before = self.size // 2
        padding = (0, 0, 0, 0, before, self.size - 1 - before)
        squares = functional.pad(units.square(), padding)
        total = torch.stack([squares[:, start : start + channels] for start in range(self.size)]).sum(0)
        return units * (self.k + self.alpha * total).pow(-self.beta)

    def extra_repr(self) -> str:
        return f"size={self.size}, alpha={self.alpha:g}, beta={self.beta:g}, k={self.k:g}"
