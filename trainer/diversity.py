"""How differently networks predict the same images."""

import torch
from torch import Tensor


def disagreement(classes: Tensor) -> Tensor:
    """Share of images that two members see as other classes: (M, N) predicted classes to (M, M) float64."""
    return torch.stack([(classes != one).double().mean(1) for one in classes])


def q_statistic(correct: Tensor) -> Tensor:
    """Yule's Q of two members being right (Kuncheva and Whitaker 2003): (M, N) bool to (M, M) float64.

    `(a d - b c) / (a d + b c)`, where both are right on a images, neither on d, and one alone on b and on c; NaN where
    that is 0 / 0.
    """
    right = correct.double()
    wrong = 1 - right
    both, neither = right @ right.T, wrong @ wrong.T
    first, second = right @ wrong.T, wrong @ right.T
    agreeing, opposed = both * neither, first * second
    return (agreeing - opposed) / (agreeing + opposed)


def mean_of_pairs(matrix: Tensor) -> float | None:
    """Mean over the pairs of different members, those that are NaN left out; None where none is left."""
    rows, columns = torch.triu_indices(len(matrix), len(matrix), offset=1)
    pairs = matrix[rows, columns]
    pairs = pairs[~pairs.isnan()]
    return float(pairs.mean()) if len(pairs) else None
