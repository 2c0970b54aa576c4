"""What a reader makes of a container: classes, and images in one pass."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.datasets.manifest import Note, SplitName
from trainer.errors import Finding


@dataclass(frozen=True)
class ImageFile:
    """One image as a file's bytes, or why there are none. `split` is None where the source has no splits."""

    split: SplitName | None
    label: int
    name: str
    content: bytes | Finding


@dataclass(frozen=True)
class Block:
    """Decoded images `(N, H, W)` or `(N, H, W, 3)`, uint8 or uint16, and labels `(N,)`.

    `name` is the file that they are from, `first` the number in it of the first.
    """

    split: SplitName | None
    labels: NDArray[np.int64]
    name: str
    first: int
    images: NDArray[Any]


@dataclass(frozen=True)
class Source:
    """`parts` can be read once. `count` images are promised, if that is known."""

    format: str
    classes: tuple[str, ...]
    parts: Iterator[ImageFile | Block]
    count: int | None = None
    notes: tuple[Note, ...] = field(default=())
