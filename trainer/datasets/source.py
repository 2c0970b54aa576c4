"""What a reader makes of a container: classes, and images in one pass."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.datasets.container import Container
from trainer.datasets.findings import Findings
from trainer.datasets.manifest import Note, SplitName
from trainer.errors import Finding

BLOCK_BYTES = 1024**2


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
    """`parts` can be read once. `count` images are promised, if that is known. Paths begin with `start`, which is only
    where they happen to lie and has no part in what is drawn by them."""

    format: str
    classes: tuple[str, ...]
    parts: Iterator[ImageFile | Block]
    count: int | None = None
    notes: tuple[Note, ...] = field(default=())
    start: str = ""


def rows_at_once(row_bytes: int) -> int:
    """How many images make a block."""
    return max(1, BLOCK_BYTES // row_bytes)


def ignored_note(container: Container, used: Collection[str]) -> tuple[Note, ...]:
    """Which files of a container are no part of the data set, if any."""
    ignored = Findings(container.limits.findings)
    for name in sorted(container.entries.keys() - set(used)):
        ignored.add(Finding(name, "ignored", "It is no part of this format."))
    if not ignored.count:
        return ()
    return (ignored.note("ignored_files", f"{ignored.count} files were left aside."),)
