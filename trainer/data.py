"""Data sets as arrays in memory, or mapped into it.

Two come with the package: `mnist5k`, 5,000 digits of MNIST (`trainer/mnist5k/NOTICE.md` says whose they are), and
`gaussian`, noise to watch how signals pass through layers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.datasets.idx import read_idx
from trainer.errors import DataInvalid

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Split:
    """Images `(N, C, H, W)` uint8 and their class numbers `(N,)` int64."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class DataFacts:
    """What a spec is checked against: all that there is to know of a data set without its images."""

    name: str
    sha256: str
    channels: int
    height: int
    width: int
    classes: tuple[str, ...]
    train_count: int
    validation_count: int
    test_count: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        return (self.channels, self.height, self.width)


@dataclass(frozen=True)
class DataSet:
    """A training and a validation split of images of one size, and a test split where there is one.

    `known_sha256` is the hash where it was computed before, so that a large data set is not read for it.
    """

    name: str
    train: Split
    validation: Split
    classes: tuple[str, ...]
    test: Split | None = None
    known_sha256: str | None = None

    @cached_property
    def sha256(self) -> str:
        """Hash of the content, as `content_hash` has it."""
        return self.known_sha256 or content_hash(self)

    def splits(self) -> Iterator[tuple[str, Split]]:
        """The splits that there are, by name: training, validation, test."""
        yield "train", self.train
        yield "validation", self.validation
        if self.test:
            yield "test", self.test

    @property
    def facts(self) -> DataFacts:
        """The data set without its images."""
        _, channels, height, width = self.train.images.shape
        return DataFacts(
            name=self.name,
            sha256=self.sha256,
            channels=channels,
            height=height,
            width=width,
            classes=self.classes,
            train_count=len(self.train),
            validation_count=len(self.validation),
            test_count=len(self.test) if self.test else 0,
        )


class ContentHash:
    """The hash of a data set in the making: class names, then shape, type and bytes of each array as they come."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._digest = sha256("\0".join(classes).encode())

    def begin(self, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> None:
        """An array of this shape follows."""
        self._digest.update(repr((shape, dtype.str)).encode())

    def update(self, part: NDArray[Any]) -> None:
        """The next rows of it, in C order."""
        self._digest.update(np.ascontiguousarray(part).data)

    def hexdigest(self) -> str:
        """The hash of all that came."""
        return self._digest.hexdigest()


def content_hash(dataset: DataSet) -> str:
    """Class names, shapes and bytes of all splits, read once from end to end. The name has no part in it."""
    content = ContentHash(dataset.classes)
    for _, split in dataset.splits():
        for array in (split.images, split.labels):
            content.begin(array.shape, array.dtype)
            content.update(array)
    return content.hexdigest()


def load(name: str) -> DataSet:
    """A bundled data set by its name. Raises `DataInvalid`."""
    if name not in BUNDLED:
        raise DataInvalid(f"There is no data set {name!r} here; there is {', '.join(BUNDLED)}.")
    return BUNDLED[name]()


def load_folder(folder: Path) -> DataSet:
    """A folder with MNIST's four files, gzip or not: `train-…` to train on, `t10k-…` to validate.

    Classes are named by their numbers. Raises `DataInvalid`, which names the file and the reason.
    """
    return _load(folder, folder.name, None)


def _mnist5k() -> DataSet:
    return _load(resources.files("trainer") / "mnist5k", "mnist5k", DIGITS)


def _gaussian() -> DataSet:
    """500 independent normal pixels, labels drawn at random: unit noise once standardised, nothing to learn."""
    draws = np.random.default_rng(0)

    def split(count: int) -> Split:
        pixels = np.clip(np.rint(128 + 32 * draws.standard_normal((count, 1, 20, 25))), 0, 255)
        return Split(pixels.astype(np.uint8), draws.integers(0, len(DIGITS), count))

    return DataSet("gaussian", split(1000), split(200), DIGITS)


BUNDLED: Mapping[str, Callable[[], DataSet]] = {"gaussian": _gaussian, "mnist5k": _mnist5k}
"""The data sets that come with the package."""


def _load(folder: Traversable, name: str, classes: tuple[str, ...] | None) -> DataSet:
    train, validation = _split(folder, "train"), _split(folder, "t10k")
    if train.images.shape[1:] != validation.images.shape[1:]:
        raise DataInvalid(
            f"Training images are {_size(train)} and validation images {_size(validation)}; they must be alike."
        )
    seen = int(max(train.labels.max(), validation.labels.max())) + 1
    classes = classes or tuple(str(number) for number in range(seen))
    if seen > len(classes):
        raise DataInvalid(f"A label is {seen - 1}, but {name} has {len(classes)} classes, counted from 0.")
    return DataSet(name, train, validation, classes)


def _split(folder: Traversable, prefix: str) -> Split:
    images = read_idx(_file(folder, f"{prefix}-images-idx3-ubyte"))
    labels = read_idx(_file(folder, f"{prefix}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.ndim != 1:
        raise DataInvalid(f"The {prefix} files must hold images (three dimensions) and labels (one dimension).")
    if len(images) != len(labels):
        raise DataInvalid(f"There are {len(images)} {prefix} images and {len(labels)} labels.")
    if images.size == 0:
        raise DataInvalid(f"The {prefix} files hold no images.")
    return Split(images[:, None], labels.astype(np.int64))


def _file(folder: Traversable, name: str) -> Traversable:
    for candidate in (folder / f"{name}.gz", folder / name):
        if candidate.is_file():
            return candidate
    raise DataInvalid(f"There is no {name} (or {name}.gz) in {folder.name}.")


def _size(split: Split) -> str:
    return "×".join(str(size) for size in split.images.shape[2:])
