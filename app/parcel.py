"""What a client sends: a file as it is, or a folder as a tar that is made while it is sent.

The tar of a folder depends on names and contents alone, and so a folder that has not changed is the same upload again.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

PIECE_BYTES = 1024 * 1024


class Unsendable(Exception):
    """What stands in the way, with the path."""


@dataclass(frozen=True)
class Parcel:
    """A file or folder, read once for its size and hash. Raises `Unsendable` or `OSError` where it cannot be read."""

    path: Path
    name: str
    size: int
    sha256: str

    def parts(self, part_bytes: int) -> Iterator[bytes]:
        """Everything, in pieces of this size but for the last."""
        held = bytearray()
        for piece in _pieces(self.path):
            held += piece
            while len(held) >= part_bytes:
                yield bytes(held[:part_bytes])
                del held[:part_bytes]
        if held:
            yield bytes(held)


def pack(path: Path) -> Parcel:
    """The file or folder at a path."""
    digest, size = sha256(), 0
    for piece in _pieces(path):
        digest.update(piece)
        size += len(piece)
    name = f"{path.resolve().name}.tar" if path.is_dir() else path.name
    return Parcel(path, name, size, digest.hexdigest())


def _pieces(path: Path) -> Iterator[bytes]:
    return _tar(path) if path.is_dir() else _content(path)


def _content(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _tar(folder: Path) -> Iterator[bytes]:
    for entry in _entries(folder):
        info = tarfile.TarInfo(entry.relative_to(folder).as_posix())
        if entry.is_dir():
            info.type = tarfile.DIRTYPE
            yield info.tobuf(tarfile.PAX_FORMAT)
            continue
        info.size = entry.stat().st_size
        yield info.tobuf(tarfile.PAX_FORMAT)
        left = info.size
        for piece in _content(entry):
            left -= len(piece)
            yield piece
        if left:
            raise Unsendable(f"{entry} has changed while it was read; try again when nothing writes to it.")
        yield bytes(-info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _entries(folder: Path) -> Iterator[Path]:
    """Folders and files below a folder, in the order of their names."""
    for item in sorted(os.scandir(folder), key=lambda item: item.name):
        path = Path(item.path)
        if item.is_dir(follow_symlinks=False):
            yield path
            yield from _entries(path)
        elif item.is_file(follow_symlinks=False):
            yield path
        else:
            raise Unsendable(f"{path} is a link or no plain file; put the file itself there.")
