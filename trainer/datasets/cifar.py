"""CIFAR-10 and CIFAR-100 in binary and python batches (Krizhevsky 2009), with the fine labels of CIFAR-100."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.datasets import pickles
from trainer.datasets.container import Container, read_exactly
from trainer.datasets.findings import refused
from trainer.datasets.manifest import SplitName
from trainer.datasets.source import Block, Source, ignored_note, rows_at_once

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True)
class Kind:
    """One of the four: what its files are called and how many labels stand before an image."""

    train: str
    test: str
    names: str
    classes: int
    pickled: bool
    label: str = ""
    label_bytes: int = 1


KINDS = (
    Kind(r"data_batch_\d+\.bin", "test_batch.bin", "batches.meta.txt", 10, pickled=False),
    Kind(r"train\.bin", "test.bin", "fine_label_names.txt", 100, pickled=False, label_bytes=2),
    Kind(r"data_batch_\d+", "test_batch", "batches.meta", 10, pickled=True, label="labels"),
    Kind(r"train", "test", "meta", 100, pickled=True, label="fine_labels"),
)


def finds(container: Container) -> bool:
    """Whether there are batches of one kind."""
    return _kind(container) is not None


def read(container: Container) -> Source:
    """The images of all batches, in the order of their numbers. Raises `DataRefused`."""
    kind = _kind(container)
    if kind is None:
        raise refused(container.name, "missing_file", "It has no batches of CIFAR-10 or CIFAR-100.")
    files = _files(container)
    train = sorted((name for name in files if re.fullmatch(kind.train, name)), key=_number)
    splits: dict[str, SplitName] = {files[name]: "train" for name in train}
    splits[files[kind.test]] = "test"
    classes = _names(container, kind, files)

    def blocks() -> Iterator[Block]:
        for name, split in splits.items():
            yield from (_pickled if kind.pickled else _binary)(container, kind, name, split, len(classes))

    used = [*splits, *([files[kind.names]] if kind.names in files else [])]
    return Source("cifar", classes, blocks(), None, ignored_note(container, used))


def _kind(container: Container) -> Kind | None:
    names = _files(container)
    for kind in KINDS:
        has_names = kind.names in names or kind.train != "train"
        if has_names and kind.test in names and any(re.fullmatch(kind.train, name) for name in names):
            return kind
    return None


def _files(container: Container) -> dict[str, str]:
    return {name.rpartition("/")[2]: name for name in container.entries}


def _number(name: str) -> int:
    digits = re.search(r"\d+", name)
    return int(digits[0]) if digits else 0


def _names(container: Container, kind: Kind, files: dict[str, str]) -> tuple[str, ...]:
    """Of the classes, else their numbers."""
    if kind.names not in files:
        return tuple(str(number) for number in range(kind.classes))
    name = files[kind.names]
    if kind.pickled:
        words = _value(_loaded(container, name), kind.label.removesuffix("s") + "_names", name)
    else:
        words = [word.strip() for word in container.read(name).split(b"\n") if word.strip()]
    if not isinstance(words, list) or not all(isinstance(word, bytes) for word in words):
        raise refused(name, "damaged", "It holds no list of names; take the file of the original.")
    try:
        return tuple(word.decode() for word in words)
    except UnicodeDecodeError:
        raise refused(name, "damaged", "A name in it is not UTF-8.") from None


def _binary(container: Container, kind: Kind, name: str, split: SplitName, classes: int) -> Iterator[Block]:
    record = kind.label_bytes + PIXELS
    count, rest = divmod(container.entries[name], record)
    if rest or not count:
        size = container.entries[name]
        raise refused(name, "damaged", f"It has {size} bytes, and a batch has a multiple of {record}.")
    step = rows_at_once(record)
    with container.open(name) as stream:
        for start in range(0, count, step):
            rows = min(step, count - start)
            data = np.frombuffer(read_exactly(stream, rows * record, name), np.uint8).reshape(rows, record)
            labels = data[:, kind.label_bytes - 1].astype(np.int64)
            yield _block(data[:, kind.label_bytes :], labels, name, start, split, classes)


def _pickled(container: Container, kind: Kind, name: str, split: SplitName, classes: int) -> Iterator[Block]:
    batch = _loaded(container, name)
    labels, array = _value(batch, kind.label, name), _value(batch, "data", name)
    try:
        data = array.pixels() if isinstance(array, pickles.Array) else None
    except ValueError as error:
        raise refused(name, "damaged", f"It is no batch of CIFAR: {error}.") from None
    if data is None or data.ndim != 2 or data.shape[1] != PIXELS:
        raise refused(name, "damaged", f"It is no batch of CIFAR: its images are not rows of {PIXELS} bytes.")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(type(label) is int for label in labels):
        raise refused(name, "damaged", f"It is no batch of CIFAR: it has no list of {len(data)} labels.")
    if not labels or not 0 <= min(labels) <= max(labels) < 2**31:
        raise refused(name, "label_out_of_range", "It has no labels, or some below 0 or far too large.")
    yield _block(data, np.array(labels, np.int64), name, 0, split, classes)


def _block(
    rows: NDArray[np.uint8], labels: NDArray[np.int64], name: str, first: int, split: SplitName, classes: int
) -> Block:
    if labels.max() >= classes:
        detail = f"A label in it is {labels.max()}, and there are {classes} classes, counted from 0."
        raise refused(name, "label_out_of_range", detail)
    images = rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return Block(split, labels, name, first, images)


def _loaded(container: Container, name: str) -> dict[Any, Any]:
    """The dictionary in a pickle."""
    try:
        value = pickles.load(container.read(name))
    except pickles.Refused as error:
        raise refused(name, "not_cifar", f"It is no batch of CIFAR: {error}; take the file of the original.") from None
    if not isinstance(value, dict):
        raise refused(name, "not_cifar", "It is no batch of CIFAR: it is no dictionary; take the file of the original.")
    return value


def _value(batch: dict[Any, Any], key: str, name: str) -> Any:
    """One value, under words as Python 2 or 3 has them."""
    found = batch.get(key.encode(), batch.get(key))
    if found is None:
        raise refused(name, "not_cifar", f"It is no batch of CIFAR: it has no {key}; take the file of the original.")
    return found
