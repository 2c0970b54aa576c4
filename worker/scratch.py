"""Scratch folders of the workers on one machine, each locked for as long as its process lives, however it ends.

The kernel lets the lock go with the process. So a neighbour knows for certain who is gone, which neither a process
id, given to others later, nor a lease that has not run out can tell.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def take(folder: Path) -> None:
    """Make a folder for this process, locked until the process ends."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # It has its name once it is locked: until then nobody looks at it.
    unnamed = folder.with_name(f".{folder.name}")
    unnamed.mkdir(mode=0o700)
    lock = os.open(unnamed, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    unnamed.rename(folder)


def abandoned(root: Path) -> Iterator[str]:
    """Names of folders whose process has ended without removing them. Each is removed when the next is asked for."""
    for folder in sorted(root.iterdir()):
        if not folder.name.startswith(".") and folder.is_dir():
            with _taken(folder) as is_ours:
                if is_ours:
                    yield folder.name
                    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _taken(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock, unless its process or a neighbour does, or the folder is gone."""
    try:
        lock = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        is_ours = False
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = folder.exists()
        yield is_ours
    finally:
        os.close(lock)
