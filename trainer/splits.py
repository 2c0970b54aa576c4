"""Named parts of a data set: the splits that it has, and two halves of the one that nothing was trained on."""

import torch
from torch import Tensor

from trainer.randomness import generator
from trainer.spec.scoring import ScoredSplit


def indices(split: ScoredSplit, labels: Tensor, seed: int) -> Tensor:
    """Which images of the whole split, with classes `labels` (N,), belong to `split`: sorted numbers (n,)."""
    _, _, half = split.partition("/")
    return halves(labels, seed)["ab".index(half)] if half else torch.arange(len(labels))


def halves(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Two halves of images with classes `labels` (N,), sorted: of each class and of all as many, give or take one."""
    drawn = torch.randperm(len(labels), generator=generator("cpu", seed, "halves"))
    by_class = drawn[labels[drawn].argsort(dim=0, stable=True)]
    return by_class[0::2].sort().values, by_class[1::2].sort().values
