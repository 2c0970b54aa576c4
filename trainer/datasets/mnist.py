"""MNIST's four IDX files, gzip or not: `train-…` to train on, `t10k-…` to test."""

import gzip
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from trainer.datasets import labels
from trainer.datasets.container import Container, Guarded, read_exactly
from trainer.datasets.findings import refused
from trainer.datasets.idx import DAMAGED, read_shape
from trainer.datasets.manifest import SplitName
from trainer.datasets.source import Block, Source, ignored_note, rows_at_once
from trainer.datasets.stream import Stream
from trainer.errors import DataInvalid, DataRefused

FILE = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?$")
SPLITS: dict[str, SplitName] = {"train": "train", "t10k": "test"}


def finds(container: Container) -> bool:
    """Whether such files are in it."""
    return any(FILE.fullmatch(name.rpartition("/")[2]) for name in container.entries)


def read(container: Container) -> Source:
    """The images of both pairs of files, or of `train-…` alone. Raises `DataRefused`."""
    files = _files(container)
    pairs = {
        prefix: _pair(files, prefix, container.name) for prefix in SPLITS if any(key[0] == prefix for key in files)
    }
    lengths = {name: _shape(container, name, 3)[0] for name, _ in pairs.values()}
    arrays: dict[str, NDArray[np.uint8]] = {}
    for images, name in pairs.values():
        count = _shape(container, name, 1)[0]
        if count != lengths[images]:
            raise refused(name, "unequal_counts", f"It has {count} labels for {lengths[images]} images.")
        if count == 0:
            raise refused(images, "no_images", "It holds no images.")
        with _opened(container, name) as (stream, _):
            arrays[name] = np.frombuffer(read_exactly(stream, count, name), np.uint8)
            _check_end(stream, name)
    classes, numbers = labels.numbered(arrays, None, container.limits)
    used = [name for pair in pairs.values() for name in pair]

    def blocks() -> Iterator[Block]:
        for prefix, (images, name) in pairs.items():
            with _opened(container, images) as (stream, shape):
                yield from _blocks(stream, shape, SPLITS[prefix], images, numbers[name])

    return Source("idx", classes, blocks(), sum(lengths.values()), ignored_note(container, used))


def _blocks(
    stream: Stream, shape: tuple[int, ...], split: SplitName, name: str, numbers: NDArray[np.int64]
) -> Iterator[Block]:
    count, height, width = shape
    step = rows_at_once(height * width)
    for start in range(0, count, step):
        rows = min(step, count - start)
        data = read_exactly(stream, rows * height * width, name)
        images = np.frombuffer(data, np.uint8).reshape(rows, height, width)
        yield Block(split, numbers[start : start + rows], name, start, images)
    _check_end(stream, name)


def _check_end(stream: Stream, name: str) -> None:
    """Refuse bytes beyond what was promised; a packed file is compared with its sum here."""
    if stream.read(1):
        raise refused(name, "lying_header", "It holds more bytes than its header promises.")


def _files(container: Container) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for name in container.entries:
        if match := FILE.fullmatch(name.rpartition("/")[2]):
            other = found.setdefault((match[1], match[2]), name)
            if other != name:
                raise refused(name, "file_twice", f"It and {other} are the same file of MNIST; keep one of them.")
    return found


def _pair(files: dict[tuple[str, str], str], prefix: str, source: str) -> tuple[str, str]:
    for kind in ("images", "labels"):
        if (prefix, kind) not in files:
            raise refused(source, "missing_file", f"It has no {prefix}-{kind} file; put it beside the others.")
    return files[prefix, "images"], files[prefix, "labels"]


def _shape(container: Container, name: str, dimensions: int) -> tuple[int, ...]:
    with _opened(container, name) as (_, shape):
        if len(shape) != dimensions:
            detail = f"It has {len(shape)} dimensions; images have three, labels one."
            raise refused(name, "wrong_shape", detail)
        return shape


@contextmanager
def _opened(container: Container, name: str) -> Iterator[tuple[Stream, tuple[int, ...]]]:
    """A file behind its header, and the sizes in it, which are possible for a file of this size."""
    with container.open(name) as packed:
        stream = packed
        if name.endswith(".gz"):
            stream = Guarded(gzip.GzipFile(fileobj=cast(BinaryIO, packed)), name, (*DAMAGED, OSError))
        try:
            shape = read_shape(stream, name.rpartition("/")[2])
        except DataRefused:
            raise
        except DataInvalid as error:
            raise refused(name, "not_idx", str(error)) from None
        _check_promise(container, name, shape)
        yield stream, shape


def _check_promise(container: Container, name: str, shape: tuple[int, ...]) -> None:
    size, promised, limits = container.entries[name], math.prod(shape), container.limits
    sizes = "×".join(map(str, shape))
    if name.endswith(".gz"):
        if promised > min(max(limits.ratio_from_bytes, limits.ratio * size), limits.unpacked_bytes):
            detail = f"Its header promises {promised} bytes ({sizes}) from {size} packed ones; that is not believed."
            raise refused(name, "bomb", detail)
    elif promised + 4 + 4 * len(shape) != size:
        detail = f"Its header promises {promised} bytes ({sizes}), and it holds {size - 4 - 4 * len(shape)}."
        raise refused(name, "lying_header", detail)
    if len(shape) == 3 and shape[1] * shape[2] > limits.image_pixels:
        raise refused(name, "image_too_large", f"Its images have {sizes} pixels; at most {limits.image_pixels} each.")
    if len(shape) == 3 and 0 in shape[1:]:
        raise refused(name, "wrong_shape", f"Its images are of {sizes} pixels.")
