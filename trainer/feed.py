"""A split on its way to the device: images that lie there whole, or that are streamed from the host batch by batch.

Both give the same batches, to the bit, and so what fits where changes no result. What is streamed may be larger than
the device's memory and, where its arrays are mapped from files, than the host's.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer import mapped
from trainer.data import DataSet, Split

AHEAD = 2
"""Batches that are on their way while one is worked on."""


class Resident:
    """A split on the device: images (N, C, H, W) uint8 and labels (N,) int64."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self.device = device
        # However they lie on the host: layers that follow the layout of images add in its order.
        self._images = torch.tensor(split.images, device=device).contiguous()
        self._labels = torch.tensor(split.labels, device=device)

    def __len__(self) -> int:
        return len(self._labels)

    def first(self, count: int) -> tuple[Tensor, Tensor]:
        """The first images of the split and their labels, on the device."""
        return self._images[:count], self._labels[:count]

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels in `order` (n,), row numbers on the CPU, so many at a time, on the device."""
        order = order.to(self.device)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            yield self._images[chosen], self._labels[chosen]

    def pieces(self, size: int) -> Iterator[Tensor]:
        """All images in the split's own order, so many at a time, on the device."""
        return iter(torch.split(self._images, size))

    def close(self) -> None:
        """Nothing runs."""


class Streamed:
    """A split on the host, of which the next batches are gathered by a thread while the device works on one.

    Methods are those of `Resident`, and raise `DataLost` where a file that is mapped into memory has become shorter.
    On a GPU a batch goes through page-locked memory and a stream of its own: nobody waits for the copy but what works
    on it. `close` ends the thread.
    """

    def __init__(self, split: Split, device: torch.device) -> None:
        self.device = device
        self._images = split.images
        self._labels = split.labels
        self._files = _files_of(split)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")

    def __len__(self) -> int:
        return len(self._labels)

    def first(self, count: int) -> tuple[Tensor, Tensor]:
        """As `Resident.first`."""
        return _landed(self._thread.submit(self._send, np.arange(min(count, len(self)))))

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Resident.batches`."""
        rows = order.numpy()
        under_way: deque[Future[_Sent]] = deque()
        try:
            for start in range(0, len(rows), size):
                under_way.append(self._thread.submit(self._send, rows[start : start + size]))
                if len(under_way) > AHEAD:
                    yield _landed(under_way.popleft())
            while under_way:
                yield _landed(under_way.popleft())
        finally:
            for future in under_way:
                future.cancel()

    def pieces(self, size: int) -> Iterator[Tensor]:
        """As `Resident.pieces`."""
        for images, _ in self.batches(torch.arange(len(self)), size):
            yield images

    def close(self) -> None:
        """End the thread; batches that are under way are not waited for but one."""
        self._thread.shutdown(cancel_futures=True)

    def _send(self, rows: NDArray[np.int64]) -> "_Sent":
        """In the thread: gather images and labels of `rows`, and let them go to the device."""
        for file in self._files:
            file.require()
        if self._stream is None:
            return _Sent(*self._gathered(rows), None)
        with torch.cuda.stream(self._stream):
            images, labels = (tensor.to(self.device, non_blocking=True) for tensor in self._gathered(rows))
            return _Sent(images, labels, self._stream.record_event())

    def _gathered(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Images and labels on the host, page-locked for a GPU; read in rising order, as they lie in a file."""
        shape, is_locked = (len(rows), *self._images.shape[1:]), self._stream is not None
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=is_locked)
        labels = torch.empty(len(rows), dtype=torch.int64, pin_memory=is_locked)
        rising = np.argsort(rows)
        for gathered, array in ((images, self._images), (labels, self._labels)):
            gathered.numpy()[rising] = array[rows[rising]]
        return images, labels


Feed = Resident | Streamed


@dataclass(frozen=True)
class _Sent:
    """A batch that is on the device once `arrival` has happened; None on the CPU, where it is already."""

    images: Tensor
    labels: Tensor
    arrival: torch.cuda.Event | None


def _landed(future: "Future[_Sent]") -> tuple[Tensor, Tensor]:
    """Images and labels for the stream in hand, which waits until they are there; the host does not."""
    sent = future.result()
    if sent.arrival is not None:
        stream = torch.cuda.current_stream(sent.images.device)
        stream.wait_event(sent.arrival)
        for tensor in (sent.images, sent.labels):
            # Its memory belongs to the other stream, and is not to be used anew before this one is done with it.
            tensor.record_stream(stream)
    return sent.images, sent.labels


@dataclass(frozen=True)
class Feeds:
    """The two splits of a data set."""

    train: Feed
    validation: Feed

    @property
    def streamed(self) -> tuple[str, ...]:
        """Names of the splits that do not lie on the device."""
        feeds = {"train": self.train, "validation": self.validation}
        return tuple(name for name, feed in feeds.items() if isinstance(feed, Streamed))


@contextmanager
def opened(data: DataSet, device: torch.device, room: int) -> Iterator[Feeds]:
    """Both splits, each on the device if its images fit into what is left of `room` bytes; the training split first.

    Threads that they have started are gone at the end. Raises `DataLost`.
    """
    feeds: list[Feed] = []
    try:
        for split in (data.train, data.validation):
            fits = split.images.nbytes <= room
            room -= split.images.nbytes if fits else 0
            feeds.append(_opened(split, device, fits=fits))
        yield Feeds(*feeds)
    finally:
        for feed in feeds:
            feed.close()


@contextmanager
def streamed(splits: Mapping[str, Split], device: torch.device) -> Iterator[Mapping[str, Feed]]:
    """Splits by name for who needs all their images in order now and then: none of them lies on the device.

    As `opened` otherwise.
    """
    feeds: dict[str, Feed] = {}
    try:
        for name, split in splits.items():
            feeds[name] = _opened(split, device, fits=False)
        yield feeds
    finally:
        for feed in feeds.values():
            feed.close()


def _opened(split: Split, device: torch.device, *, fits: bool) -> Feed:
    for file in _files_of(split):
        file.require()
    return Resident(split, device) if fits else Streamed(split, device)


def _files_of(split: Split) -> list[mapped.MappedFile]:
    return [file for array in (split.images, split.labels) if (file := mapped.file_of(array))]
