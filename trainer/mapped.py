"""Arrays whose content is a file's, mapped into memory.

To read behind the end of a file that has become shorter kills the process (SIGBUS): the size is looked at before.
"""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataLost


class MappedFile:
    """The file that an array was mapped from; it stays the same one when another takes its name."""

    def __init__(self, mapping: mmap.mmap, name: str, size: int) -> None:
        self._mapping = mapping
        self._name = name
        self._size = size

    def require(self) -> None:
        """Raises `DataLost` where the file has become shorter than what is mapped of it."""
        if (size := self._mapping.size()) < self._size:
            raise DataLost(f"{self._name} has become shorter: of {self._size} bytes that were there, {size} are left.")


def file_of(array: NDArray[Any]) -> MappedFile | None:
    """The file that `array`, or what it is a view of, was mapped from; None for an array in memory."""
    name, start = "A file that is mapped into memory", 0
    base: object = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            # The last one seen is the whole mapping, whose offset is not that of a view.
            name, start = Path(base.filename or name).name, base.offset - base.offset % mmap.ALLOCATIONGRANULARITY
        base = base.base
    return MappedFile(base, name, start + len(base)) if isinstance(base, mmap.mmap) else None
