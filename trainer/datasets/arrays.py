"""Pairs of numpy arrays, images and labels, in an `npz` or as `npy` files.

A file's name tells what it is: `x`, `images` or `data` are images, `y`, `labels` or `targets` their labels; with a
split's name before or behind (`x_train`, `val_labels`) they are that split's. `classes`, `class_names` or `label_names`
names the classes.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from trainer.datasets import labels
from trainer.datasets.container import Container, read_exactly
from trainer.datasets.findings import refused
from trainer.datasets.manifest import SplitName
from trainer.datasets.source import Block, Source, ignored_note, rows_at_once
from trainer.datasets.splits import ALIASES
from trainer.datasets.stream import Stream

ROLES = {"x": "x", "images": "x", "data": "x", "y": "y", "labels": "y", "targets": "y"}
CLASS_NAMES = ("classes", "class_names", "label_names")
LARGEST_HEADER = 64 * 1024
BAD_HEADER = (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError, OverflowError)


@dataclass(frozen=True)
class Header:
    """What an `npy` file says of itself, checked against its size."""

    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"


def finds(container: Container) -> bool:
    """Whether there are such files."""
    return any(_role(name) for name in container.entries)


def read(container: Container) -> Source:
    """The images of every pair. Raises `DataRefused`."""
    pairs = _pairs(container)
    headers = {images: _images_header(container, images) for images, _ in pairs.values()}
    classes, numbers = labels.numbered(
        {name: _whole(container, name) for _, name in pairs.values()}, _class_names(container), container.limits
    )
    for images, name in pairs.values():
        if len(numbers[name]) != headers[images].shape[0]:
            detail = f"It has {len(numbers[name])} labels for the {headers[images].shape[0]} images of {images}."
            raise refused(name, "unequal_counts", detail)
    used = [name for pair in pairs.values() for name in pair] + _class_files(container)

    def blocks() -> Iterator[Block]:
        for split, (images, name) in pairs.items():
            with _opened(container, images) as (stream, header):
                yield from _blocks(stream, header, split, images, numbers[name])

    count = sum(len(array) for array in numbers.values())
    return Source("arrays", classes, blocks(), count, ignored_note(container, used))


def _blocks(
    stream: Stream, header: Header, split: SplitName | None, name: str, numbers: NDArray[np.int64]
) -> Iterator[Block]:
    count, *shape = header.shape
    row_bytes = math.prod(shape) * header.dtype.itemsize
    step = rows_at_once(row_bytes)
    for start in range(0, count, step):
        rows = min(step, count - start)
        images = np.frombuffer(read_exactly(stream, rows * row_bytes, name), header.dtype).reshape(rows, *shape)
        yield Block(split, numbers[start : start + rows], name, start, _channels_last(images, name))


def _channels_last(images: NDArray[Any], name: str) -> NDArray[Any]:
    """`(N, H, W)` or `(N, H, W, 3)` of the layouts that are taken."""
    if images.ndim == 3:
        return images
    if images.ndim == 4 and (images.shape[1] in (1, 3)) != (images.shape[3] in (1, 3)):
        if images.shape[1] in (1, 3):
            images = images.transpose(0, 2, 3, 1)
        return images[..., 0] if images.shape[3] == 1 else images
    shape = "×".join(map(str, images.shape[1:]))
    raise refused(name, "images_shape", f"Its images are {shape}; they must be H×W, H×W×C or C×H×W, C being 1 or 3.")


def _images_header(container: Container, name: str) -> Header:
    with _opened(container, name) as (_, header):
        count, *shape = header.shape or (0,)
        if count == 0 or 0 in shape:
            raise refused(name, "no_images", "It holds no images.")
        if header.dtype not in (np.uint8, np.uint16):
            detail = f"Its numbers are {header.dtype}; save pixels as uint8, from 0 to 255, or as uint16."
            raise refused(name, "images_type", detail)
        if math.prod(shape) > 3 * container.limits.image_pixels:
            raise refused(name, "image_too_large", f"Its images have more than {container.limits.image_pixels} pixels.")
        _channels_last(np.empty((0, *shape), np.uint8), name)
        return header


def _whole(container: Container, name: str) -> NDArray[Any]:
    """An array that is held in memory."""
    size = container.entries[name]
    if size > container.limits.entry_bytes:
        detail = f"It has {size} bytes; at most {container.limits.entry_bytes} are read of labels."
        raise refused(name, "file_too_large", detail)
    with _opened(container, name) as (stream, header):
        size = math.prod(header.shape) * header.dtype.itemsize
        return np.frombuffer(read_exactly(stream, size, name), header.dtype).reshape(header.shape)


@contextmanager
def _opened(container: Container, name: str) -> Iterator[tuple[Stream, Header]]:
    """An array behind its header, which fits the file's size."""
    with container.open(name) as stream:
        start = _Start(stream)
        try:
            version = npy.read_magic(start)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"its version is {version[0]}.{version[1]}")
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read_header(start)
        except BAD_HEADER as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise refused(name, "not_npy", f"It is no npy file: {reason}; save it by numpy.save.") from None
        if dtype.hasobject or dtype.kind not in "biufU":
            raise refused(name, "object_type", f"It holds {dtype}, and only numbers or words are read; convert it.")
        if fortran and len(shape) > 1:
            detail = "It is in Fortran's order; save numpy.ascontiguousarray of it."
            raise refused(name, "fortran_order", detail)
        promised, held = math.prod(shape) * dtype.itemsize, container.entries[name] - start.count
        if promised != held or min(shape, default=0) < 0:
            sizes = "×".join(map(str, shape))
            detail = f"Its header promises {promised} bytes ({sizes} {dtype}), and it holds {held}."
            raise refused(name, "lying_header", detail)
        yield stream, Header(shape, dtype)


class _Start:
    """The beginning of a stream: counts, and refuses headers that no array has."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_HEADER:
            raise ValueError(f"its header claims {size} bytes")
        data = self._stream.read(size)
        self.count += len(data)
        return data


def _pairs(container: Container) -> dict[SplitName | None, tuple[str, str]]:
    """Images and labels of each split, or of all where there are no splits."""
    found: dict[tuple[SplitName | None, str], str] = {}
    for name in container.entries:
        if key := _role(name):
            other = found.setdefault(key, name)
            if other != name:
                raise refused(name, "file_twice", f"It and {other} mean the same; keep one of them.")
    splits = list(dict.fromkeys(split for split, _ in found))
    if None in splits and len(splits) > 1:
        which = next(name for (split, _), name in found.items() if split is None)
        raise refused(which, "no_split", "It belongs to no split, and others do; keep the one or the others.")
    for split in splits:
        for role, words in (("x", "images"), ("y", "labels")):
            if (split, role) not in found:
                of = f" of the {split} split" if split else ""
                raise refused(
                    container.name, "missing_file", f"It has no array of {words}{of}; put it beside the others."
                )
    order: tuple[SplitName | None, ...] = (None, "train", "validation", "test")
    return {split: (found[split, "x"], found[split, "y"]) for split in order if split in splits}


def _role(name: str) -> tuple[SplitName | None, str] | None:
    """What a file is by its name: its split and `x` or `y`."""
    stem, dot, suffix = name.rpartition("/")[2].lower().rpartition(".")
    if not dot or suffix != "npy":
        return None
    words = re.split("[_-]", stem)
    roles = [ROLES[word] for word in words if word in ROLES]
    splits = [ALIASES[word] for word in words if word in ALIASES]
    if len(roles) != 1 or len(splits) > 1 or len(roles) + len(splits) != len(words):
        return None
    return (splits[0] if splits else None), roles[0]


def _class_files(container: Container) -> list[str]:
    return [
        name for name in container.entries if name.rpartition("/")[2].lower() in {f"{word}.npy" for word in CLASS_NAMES}
    ]


def _class_names(container: Container) -> list[str] | None:
    files = _class_files(container)
    if not files:
        return None
    array = _whole(container, files[0])
    if array.ndim != 1 or array.dtype.kind != "U":
        raise refused(files[0], "labels_type", "Names of classes are an array of words with one dimension.")
    names: list[str] = array.tolist()
    return names
