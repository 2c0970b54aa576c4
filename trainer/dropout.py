"""Dropout whose draws are a function of the seed and the step (Srivastava 2014)."""

from typing import Literal

import torch
from torch import Tensor, nn

from trainer.randomness import seed_for


@torch.library.custom_op("annealer::uniform", mutates_args=())
def _uniform(units: Tensor, seed: Tensor) -> Tensor:
    """Numbers from [0, 1), float32 in the shape of `units`; an operation of its own, which a compiler leaves whole."""
    source = torch.Generator(units.device).manual_seed(int(seed))
    return torch.rand(units.shape, generator=source, device=units.device)


@_uniform.register_fake
def _(units: Tensor, seed: Tensor) -> Tensor:
    return torch.empty(units.shape, device=units.device)


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
        self.seed = torch.zeros((), dtype=torch.int64)

    def forward(self, units: Tensor) -> Tensor:
        if self.keep == 1:
            return units
        if not self.training:
            return units * self.keep if self.form == "classic" else units
        kept = self._uniform(units) < self.keep
        return units * (kept / self.keep if self.form == "inverted" else kept)

    def _uniform(self, units: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            drawn: Tensor = _uniform(units, self.seed)
            return drawn
        if self.generator is None:
            raise RuntimeError("dropout draws from a generator of its own: call reseed before each step")
        return torch.rand(units.shape, generator=self.generator, device=units.device)

    def extra_repr(self) -> str:
        return f"drop={1 - self.keep:g}, form={self.form}"


def reseed(model: nn.Module, device: torch.device, seed: int, step: int) -> None:
    """Give every dropout of `model` its draws for `step`."""
    dropouts = (module for module in model.modules() if isinstance(module, Dropout))
    for index, dropout in enumerate(dropouts):
        if dropout.generator is None:
            dropout.generator = torch.Generator(device)
        drawn = seed_for(seed, "dropout", index, step)
        dropout.generator.manual_seed(drawn)
        dropout.seed.fill_(drawn)
