"""Writes a pack from a spool: each split in its order, hashed and measured as it is written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from trainer.data import ContentHash, Images
from trainer.datasets import pack
from trainer.datasets.budget import Budget
from trainer.datasets.findings import Findings
from trainer.datasets.splits import NAMES, TRAIN
from trainer.datasets.spool import Spool
from trainer.errors import Finding

PIECE_BYTES = 1024**2
BYTES = np.arange(256)


@dataclass(frozen=True)
class WrittenSplit:
    """`rows` are its images' places in the spool, `digests` of 64 bits tell equal images."""

    name: str
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    digests: NDArray[np.uint64]


@dataclass(frozen=True)
class Written:
    """What is known once all is written."""

    sha256: str
    splits: tuple[WrittenSplit, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    single_colour: Findings


class Writer:
    """The arrays of a pack, in `folder`."""

    def __init__(self, folder: Path, spool: Spool, classes: Sequence[str], budget: Budget) -> None:
        self.folder = folder
        self.spool = spool
        self.budget = budget
        self.hash = ContentHash(classes)
        self.single_colour = Findings(budget.limits.findings)
        self._images = spool.images()
        self._counts = np.zeros((self._images.shape[1], 256), np.int64)
        self._done = 0

    def write(self, splits: NDArray[np.int8]) -> Written:
        """Every split that has images; `splits` has that of each image in the spool."""
        order = self.spool.order()
        numbers = [number for number in range(len(NAMES)) if (splits == number).any()]
        written = tuple(self._write_split(number, order[splits[order] == number]) for number in numbers)
        mean, std = self._moments()
        return Written(self.hash.hexdigest(), written, mean, std, self.single_colour)

    def _write_split(self, number: int, rows: NDArray[np.int64]) -> WrittenSplit:
        name = NAMES[number]
        digests = np.empty(len(rows), np.uint64)
        labels = self.spool.labels[rows].astype(np.int64)
        shape = (len(rows), *self._images.shape[1:])
        self._write(pack.images_file(name), shape, np.dtype(np.uint8), self._pieces(rows, digests, number))
        self._write(pack.labels_file(name), labels.shape, np.dtype(np.int64), iter([labels]))
        return WrittenSplit(name, rows, labels, digests)

    def _pieces(self, rows: NDArray[np.int64], digests: NDArray[np.uint64], number: int) -> Iterator[Images]:
        step = max(1, PIECE_BYTES // self._images[0].size)
        for start in range(0, len(rows), step):
            chosen = rows[start : start + step]
            images = self._images[chosen]
            digests[start : start + step] = [_digest(image) for image in images]
            self._note_single_colours(chosen, images)
            if number == TRAIN:
                self._count(images)
            yield images
            self._done += len(images)
            self.budget.tell("packing", self._done, len(self._images))

    def _write(
        self, file_name: str, shape: tuple[int, ...], dtype: "np.dtype[Any]", pieces: Iterator[NDArray[Any]]
    ) -> None:
        self.hash.begin(shape, dtype)
        with (self.folder / file_name).open("wb") as file:
            header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(file, header)
            for piece in pieces:
                self.hash.update(piece)
                file.write(np.ascontiguousarray(piece).data)

    def _note_single_colours(self, rows: NDArray[np.int64], images: Images) -> None:
        flat = images.reshape(*images.shape[:2], -1)
        for at in np.flatnonzero((flat.min(axis=2) == flat.max(axis=2)).all(axis=1)).tolist():
            self.single_colour.add(Finding(self.spool.keys[rows[at]], "single_colour", "All its pixels are alike."))

    def _count(self, images: Images) -> None:
        for channel in range(images.shape[1]):
            self._counts[channel] += np.bincount(images[:, channel].ravel(), minlength=256)

    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over the training split, exact but for the last division."""
        total = self._counts.sum(axis=1)
        mean = (self._counts @ BYTES) / total
        squares = (self._counts * (BYTES - mean[:, None]) ** 2).sum(axis=1) / total
        return tuple(mean.tolist()), tuple(np.sqrt(squares).tolist())


def _digest(image: Images) -> int:
    return int.from_bytes(blake2b(image.tobytes(), digest_size=8).digest(), "little")
