"""Images in the order in which they come, on disk, until it is known where each belongs."""

from array import array
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from trainer.data import Images
from trainer.datasets.findings import Findings, refused
from trainer.datasets.limits import Limits
from trainer.errors import Finding


class Spool:
    """Appends images of one shape to a file; what is known of each besides its pixels is held in memory.

    `keys` are paths, or file names and numbers where images have no paths; `by_path` says which.
    """

    def __init__(self, path: Path, limits: Limits, source: str) -> None:
        self.path = path
        self.limits = limits
        self.source = source
        self.shape: tuple[int, int, int] | None = None
        self.keys: list[str] = []
        self.by_path = True
        self.misfits = Findings(limits.findings)
        self._splits = array("b")
        self._labels = array("i")
        self._file: BinaryIO | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, key: str, label: int, split: int, image: Images) -> None:
        """One image `(C, H, W)`. One of another shape than the first is a misfit."""
        if self._fits(key, image.shape):
            self._append([key], [label], split, image[None])

    def add_block(self, name: str, first: int, labels: NDArray[np.int64], split: int, images: Images) -> None:
        """Images `(N, C, H, W)` of one file, of which this is the number of the first."""
        self.by_path = False
        if self._fits(name, images.shape[1:]):
            keys = [f"{name}#{number}" for number in range(first, first + len(images))]
            self._append(keys, labels.tolist(), split, images)

    def __enter__(self) -> Self:
        """Open the file to write."""
        self._file = self.path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        """Close it; the images can be read."""
        if self._file:
            self._file.close()

    @property
    def splits(self) -> NDArray[np.int8]:
        """What the source says of each image."""
        return np.array(self._splits, np.int8)

    @property
    def labels(self) -> NDArray[np.int32]:
        """The class of each image."""
        return np.array(self._labels, np.int32)

    def order(self) -> NDArray[np.int64]:
        """Canonical: by class, then by path in code points; as they came where they have no paths."""
        if not self.by_path:
            return np.arange(len(self), dtype=np.int64)
        labels = self._labels
        return np.array(sorted(range(len(self)), key=lambda at: (labels[at], self.keys[at])), np.int64)

    def draws(self, start: str) -> list[str]:
        """What a split is drawn by: paths behind `start`, or places where images have no paths."""
        return [key.removeprefix(start) for key in self.keys] if self.by_path else list(map(str, range(len(self))))

    def images(self) -> Images:
        """All images `(N, C, H, W)` as they came, mapped."""
        assert self.shape is not None
        return np.memmap(self.path, np.uint8, "r", shape=(len(self), *self.shape))

    def _fits(self, name: str, shape: tuple[int, ...]) -> bool:
        channels, height, width = shape
        if self.shape is None:
            if max(height, width) > self.limits.side:
                raise refused(
                    name,
                    "side_too_long",
                    f"It is {height}×{width}; a side has at most {self.limits.side} pixels in a pack; give a size.",
                )
            self.shape = (channels, height, width)
        if self.shape == shape:
            return True
        if self.shape[0] != channels:
            words = ("grey", "colour") if channels == 1 else ("colour", "grey")
            detail = f"It is {words[0]} and others are {words[1]}; say channels: 1 or 3."
            self.misfits.add(Finding(name, "mixed_channels", detail))
        else:
            detail = f"It is {height}×{width} and the first image {self.shape[1]}×{self.shape[2]}; give a size."
            self.misfits.add(Finding(name, "mixed_sizes", detail))
        return False

    def _append(self, keys: list[str], labels: list[int], split: int, images: Images) -> None:
        if self.misfits.count:
            return
        self.keys += keys
        self._labels.extend(labels)
        self._splits.extend([split] * len(keys))
        if len(self) > self.limits.images or len(self) * images[0].size > self.limits.pack_bytes:
            raise refused(
                self.source,
                "too_many_images",
                f"It has more than {self.limits.images} images or {self.limits.pack_bytes} bytes of them; give fewer "
                "or a smaller size.",
            )
        assert self._file is not None
        self._file.write(np.ascontiguousarray(images).data)
