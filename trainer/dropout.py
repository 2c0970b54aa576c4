"""Dropout whose draws are a function of the seed and the step (Srivastava 2014)."""

from typing import Literal

import torch
from torch import Tensor, nn

from trainer.randomness import seed_for


class Dropout(nn.Module):
    """Sets units to zero with probability `drop` in training.

    `inverted` divides what is left by 1 - drop in training; `classic` multiplies by 1 - drop at test. Draws come
    from `self.generator`, which `reseed` gives; training without one is an error.
    """

    def __init__(self, drop: float, form: Literal["inverted", "classic"]) -> None:
        super().__init__()
        self.keep = 1 - drop
        self.form = form
        self.generator: torch.Generator | None = None

    def forward(self, units: Tensor) -> Tensor:
        if self.keep == 1:
            return units
        if not self.training:
            return units * self.keep if self.form == "classic" else units
        if self.generator is None:
            raise RuntimeError("dropout draws from a generator of its own: call reseed before each step")
        kept = torch.rand(units.shape, generator=self.generator, device=units.device) < self.keep
        return units * (kept / self.keep if self.form == "inverted" else kept)

    def extra_repr(self) -> str:
        return f"drop={1 - self.keep:g}, form={self.form}"


def reseed(model: nn.Module, device: torch.device, seed: int, step: int) -> None:
    """Give every dropout of `model` its draws for `step`."""
    dropouts = (module for module in model.modules() if isinstance(module, Dropout))
    for index, dropout in enumerate(dropouts):
        if dropout.generator is None:
            dropout.generator = torch.Generator(device)
        dropout.generator.manual_seed(seed_for(seed, "dropout", index, step))
