"""The training split on the device, in batches: every image exactly once an epoch."""

from collections.abc import Iterator
from copy import copy
from typing import Self

import torch
from torch import Tensor

from trainer.data import Split
from trainer.randomness import generator


class Batches:
    """Batches of resident images (N, C, H, W) uint8 and labels (N,), in an order drawn anew for each epoch.

    The last batch of an epoch is smaller when the split cannot be divided, unless `drop_last`.
    """

    def __init__(self, split: Split, batch_size: int, device: torch.device, seed: int, *, drop_last: bool) -> None:
        self._images = torch.tensor(split.images, device=device)
        self._labels = torch.tensor(split.labels, device=device)
        self._batch_size = batch_size
        self._seed = seed
        count = len(split)
        self._used = count - count % batch_size if drop_last else count

    def with_seed(self, seed: int) -> Self:
        """The same images, in the orders of another seed."""
        other = copy(self)
        other._seed = seed
        return other

    def sizes(self) -> list[int]:
        """The number of images in each batch of an epoch."""
        starts = range(0, self._used, self._batch_size)
        return [min(self._batch_size, self._used - start) for start in starts]

    def first(self, count: int) -> tuple[Tensor, Tensor]:
        """The first images of the split and their labels, in the split's own order."""
        return self._images[:count], self._labels[:count]

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's batches after the first `skip`. Drawn on the CPU: the order is the same on all devices."""
        order = torch.randperm(len(self._labels), generator=generator("cpu", self._seed, "order", epoch))
        order = order.to(self._labels.device)
        for start in range(skip * self._batch_size, self._used, self._batch_size):
            chosen = order[start : min(start + self._batch_size, self._used)]
            yield self._images[chosen], self._labels[chosen]
