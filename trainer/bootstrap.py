"""How sure a mean over images is: percentiles of its values over images drawn again (Efron 1979)."""

import torch
from torch import Tensor

from trainer.randomness import generator
from trainer.report import Interval


def interval(values: Tensor, *, draws: int, confidence: float, seed: int) -> Interval:
    """The mean of values (N,) float64, and between which ends it lies: the same for the same seed.

    Of each draw's N images, with replacement, the mean is taken; the ends cut off as many of the means on both sides.
    """
    count = len(values)
    means = torch.stack(
        [
            values[torch.randint(count, (count,), generator=generator("cpu", seed, "bootstrap", draw))].mean()
            for draw in range(draws)
        ]
    )
    outside = (1 - confidence) / 2
    low, high = means.quantile(torch.tensor([outside, 1 - outside], dtype=values.dtype)).tolist()
    return Interval(estimate=float(values.mean()), low=low, high=high)
