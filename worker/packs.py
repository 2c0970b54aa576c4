"""Data sets on this machine's disk, fetched from the database once and kept while there is room.

All workers of a machine may share the folder. Whoever uses a data set holds a lock on its folder, which the kernel lets
go with the process; only what nobody holds is removed, the least recently used first. Files come under their names once
they are whole. Each is read through whenever a job takes the data set, which costs a training less than one epoch's
reading, and one that is damaged is fetched again.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import file_digest
from pathlib import Path

import structlog

from app.store.datasets import PackFile
from trainer.datasets.pack import SAMPLES

log = structlog.get_logger()

FETCHING = ".fetching"
"""The file that is locked in a data set's folder by the one who fetches."""

Fetch = Callable[[str, Path], Path]
"""Writes a blob to a file and returns its path; raises `BlobDamaged`."""


class Packs:
    """Safe to share between threads, and the folder between processes. Of what is idle, `most_bytes` are kept."""

    def __init__(self, root: Path, most_bytes: int) -> None:
        self._root = root
        self._most_bytes = most_bytes

    @contextmanager
    def taken(self, sha256: str, files: Sequence[PackFile], fetch: Fetch) -> Iterator[Path]:
        """The folder of a data set by the hash of its content, whole and checked; it stays until the end.

        Raises what `fetch` raises, and `OSError` where the disk is full.
        """
        lock = self._held(self._root / sha256)
        folder = self._root / sha256
        try:
            self._complete(folder, [file for file in files if file.name != SAMPLES], fetch)
            os.utime(folder)
            self.trim()
            yield folder
        finally:
            os.close(lock)
            self.trim()

    def trim(self) -> None:
        """Remove what is too much of what nobody uses, the least recently used first."""
        found = sorted(self._folders(), key=lambda item: item[0])
        total = sum(size for _, size, _ in found)
        for _, size, folder in found:
            if total <= self._most_bytes:
                return
            if self._removed(folder):
                log.info("data set removed from this machine", sha256=folder.name, bytes=size)
                total -= size

    def _held(self, folder: Path) -> int:
        """A lock on a folder that is there, shared by all who use it."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        while True:
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            # It may go in any moment until we hold it, and be made again by another.
            with suppress(FileNotFoundError):
                lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                fcntl.flock(lock, fcntl.LOCK_SH)
                if _is_still(folder, lock):
                    return lock
                os.close(lock)

    def _complete(self, folder: Path, files: Sequence[PackFile], fetch: Fetch) -> None:
        if all(_is_whole(folder / file.name, file) for file in files):
            return
        with (folder / FETCHING).open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            # Another may have fetched some while we waited. Who reads a damaged one goes on with what it has open.
            for file in files:
                if not _is_whole(folder / file.name, file):
                    log.info("data set is fetched", sha256=folder.name, file=file.name, bytes=file.size)
                    fetch(file.sha256, folder / file.name)

    def _folders(self) -> Iterator[tuple[int, int, Path]]:
        """When each data set was last used, its bytes, and its folder."""
        with suppress(FileNotFoundError):
            for folder in self._root.iterdir():
                with suppress(FileNotFoundError, NotADirectoryError):
                    with os.scandir(folder) as entries:
                        size = sum(entry.stat().st_size for entry in entries)
                    yield folder.stat().st_mtime_ns, size, folder

    def _removed(self, folder: Path) -> bool:
        """Remove a data set unless somebody uses it."""
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another may have removed it before, and somebody made it again: that one is not ours to remove.
            if _is_still(folder, lock):
                shutil.rmtree(folder, ignore_errors=True)
            return True
        except BlockingIOError:
            return False
        finally:
            os.close(lock)


def _is_still(folder: Path, lock: int) -> bool:
    """Whether the folder of this name is the one that was opened."""
    with suppress(FileNotFoundError):
        return os.fstat(lock).st_ino == folder.stat().st_ino
    return False


def _is_whole(path: Path, file: PackFile) -> bool:
    """Whether a file is there with the content that it should have."""
    try:
        if path.stat().st_size != file.size:
            return False
        with path.open("rb") as content:
            return file_digest(content, "sha256").hexdigest() == file.sha256
    except OSError:
        return False
