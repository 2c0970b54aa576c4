"""What networks together say of new images, as they would in a scoring."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer import temperature
from trainer.combine import Combination, combine
from trainer.evaluate import log_probabilities


@dataclass(frozen=True)
class Predicted:
    """Classes (N,), probabilities (N, K) float64, which votes do not have, and those of each member (M, N, K)."""

    classes: Tensor
    probabilities: Tensor | None
    members: Tensor


def predict(
    members: Sequence[tuple[nn.Module, float]], how: Combination, heat: float | None, images: Tensor
) -> Predicted:
    """Members with their weights, on the device of `images` (N, C, H, W) uint8; `heat` is the temperature."""
    alone = [log_probabilities(model, images) for model, _ in members]
    together = combine(how, [(found, weight) for found, (_, weight) in zip(alone, members, strict=True)])
    found = together.log_probabilities
    if found is not None and heat is not None:
        found = temperature.scale(found, heat)
    return Predicted(together.classes, None if found is None else found.exp(), torch.stack(alone).exp())
