"""Averages what several networks predict."""

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor


def average(log_probabilities: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Log of the weighted mean of distributions: M times (N, K) to (N, K). Weights sum to one."""
    weighted = [member + log(weight) for member, weight in zip(log_probabilities, weights, strict=True)]
    return torch.stack(weighted).logsumexp(0)
