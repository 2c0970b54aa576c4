"""The training split in batches: every image exactly once an epoch."""

from collections.abc import Iterator
from copy import copy
from typing import Self

import torch
from torch import Tensor

from trainer.feed import Feed
from trainer.randomness import generator


class Batches:
    """Batches of images (N, C, H, W) uint8 and labels (N,) on the device, in an order drawn anew for each epoch.

    The last batch of an epoch is smaller when the split cannot be divided, unless `drop_last`.
    """

    def __init__(self, feed: Feed, batch_size: int, seed: int, *, drop_last: bool) -> None:
        self._feed = feed
        self._batch_size = batch_size
        self._seed = seed
        count = len(feed)
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
        return self._feed.first(count)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's batches after the first `skip`. Drawn on the CPU: the order is the same on all devices."""
        order = torch.randperm(len(self._feed), generator=generator("cpu", self._seed, "order", epoch))
        return self._feed.batches(order[skip * self._batch_size : self._used], self._batch_size)
