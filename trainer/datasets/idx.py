"""IDX, the file format of MNIST: big-endian sizes, then unsigned bytes."""

import gzip
import math
import struct
import zlib
from importlib.resources.abc import Traversable

import numpy as np
from numpy.typing import NDArray

from trainer.datasets.stream import Stream
from trainer.errors import DataInvalid

UNSIGNED_BYTE = 8
LARGEST_BYTES = 2**32
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)


def read_shape(stream: Stream, name: str) -> tuple[int, ...]:
    """The sizes in a file's header; the stream stands behind it. Raises `DataInvalid`."""
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise DataInvalid(f"{name} is not an IDX file: it does not begin with two zero bytes.")
    kind, dimensions = start[2], start[3]
    if kind != UNSIGNED_BYTE:
        raise DataInvalid(f"{name} holds numbers of type {kind:#04x}; only unsigned bytes (0x08) are read.")
    sizes = stream.read(4 * dimensions)
    if dimensions == 0 or len(sizes) < 4 * dimensions:
        raise DataInvalid(f"{name} ends within its header.")
    return struct.unpack(f">{dimensions}I", sizes)


def read_idx(path: Traversable) -> NDArray[np.uint8]:
    """A whole file, gzip or not. Raises `DataInvalid`."""
    with path.open("rb") as file:
        stream: Stream = gzip.GzipFile(fileobj=file) if path.name.endswith(".gz") else file
        try:
            shape = read_shape(stream, path.name)
            promised = math.prod(shape)
            data = stream.read(min(promised, LARGEST_BYTES) + 1)
        except DAMAGED as error:
            raise DataInvalid(f"{path.name} is a damaged gzip file: {error}.") from error
    if promised != len(data):
        sizes = "×".join(map(str, shape))
        raise DataInvalid(f"{path.name} promises {promised} bytes ({sizes}) and holds {len(data)}.")
    return np.frombuffer(data, np.uint8).reshape(shape)
