"""Data at a path, whatever it is, for a program that trains on it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.data import DataSet, load_folder
from trainer.datasets.importer import import_data
from trainer.datasets.pack import is_pack, open_pack


@contextmanager
def opened_at(path: Path | None) -> Iterator[Path | None]:
    """A folder that `load` takes: this one where it does, else a pack of it that lasts as long as it is needed.

    None stays None. Raises `DataRefused` where it cannot be packed.
    """
    if path is None or is_pack(path) or _is_mnist(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="annealer-") as scratch:
        folder = Path(scratch) / "pack"
        import_data(path, folder)
        yield folder


def load(folder: Path) -> DataSet:
    """A pack, mapped, or MNIST's four files, read. Raises `DataInvalid`."""
    return open_pack(folder) if is_pack(folder) else load_folder(folder)


def _is_mnist(path: Path) -> bool:
    return any(path.glob("t*-*-idx?-ubyte*"))
