"""Dropout whose draws are a function of the seed and the step (Srivastava 2014)."""

from typing import Literal

import torch
from torch import Tensor, nn

from trainer.randomness import seed_for


@torch.library.custom_op("annealer::uniform", mutates_args=())
def _uniform(units: Tensor, seed: Tensor, first: int, whole: int) -> Tensor:
    """As `_drawn` with a source of this seed; an operation of its own, which a compiler leaves whole."""
    return _drawn(units, torch.Generator(units.device).manual_seed(int(seed)), first, whole).clone()


@_uniform.register_fake
def _(units: Tensor, seed: Tensor, first: int, whole: int) -> Tensor:
    return torch.empty(units.shape, device=units.device)


def _drawn(units: Tensor, source: torch.Generator, first: int, whole: int) -> Tensor:
    """Numbers from [0, 1), float32, for units (N, …) of the images from `first` on of a batch of `whole`."""
    drawn = torch.rand((whole, *units.shape[1:]), generator=source, device=units.device)
    return drawn[first : first + len(units)]


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
        self.first = 0
        self.whole: int | None = None

    def forward(self, units: Tensor) -> Tensor:
        if self.keep == 1:
            return units
        if not self.training:
            return units * self.keep if self.form == "classic" else units
        kept = self._uniform(units) < self.keep
        return units * (kept / self.keep if self.form == "inverted" else kept)

    def _uniform(self, units: Tensor) -> Tensor:
        whole = len(units) if self.whole is None else self.whole
        if torch.compiler.is_compiling():
            drawn: Tensor = _uniform(units, self.seed, self.first, whole)
            return drawn
        if self.generator is None:
            raise RuntimeError("dropout draws from a generator of its own: call reseed before each step")
        return _drawn(units, self.generator, self.first, whole)

    def extra_repr(self) -> str:
        return f"drop={1 - self.keep:g}, form={self.form}"


def reseed(
    model: nn.Module, device: torch.device, seed: int, step: int, first: int = 0, whole: int | None = None
) -> None:
    """Give every dropout of `model` its draws for `step`.

    Where the model is to see part of a batch, `first` is the place of its first image among the `whole` batch's: each
    image's draws are the same, whoever else is with it.
    """
    dropouts = (module for module in model.modules() if isinstance(module, Dropout))
    for index, dropout in enumerate(dropouts):
        if dropout.generator is None:
            dropout.generator = torch.Generator(device)
        drawn = seed_for(seed, "dropout", index, step)
        dropout.generator.manual_seed(drawn)
        dropout.seed.fill_(drawn)
        dropout.first, dropout.whole = first, whole
