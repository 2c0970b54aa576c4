"""A backup of an embedded service's folder, taken while it runs, and the way back.

Everything that the service has lies in its SQLite database. A backup is one file: that database as it was at one
moment, checked.
"""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from app.embedded import DATABASE, held
from app.store import migrate
from app.store.blobs import place_of_object


class CannotBackUp(Exception):
    """What stands in the way, and what to do about it."""


@dataclass(frozen=True)
class Backup:
    """What a backup file holds; `outside` are places of files that it does not."""

    path: Path
    bytes: int
    jobs: int
    revision: str
    outside: tuple[str, ...]


def backup(folder: Path, target: Path) -> Backup:
    """Write the folder's database, as it is at this moment, to a file. Raises `CannotBackUp`.

    Whoever writes to the database meanwhile is neither waited for nor held up. The file has its name once it is whole
    and on the disk.
    """
    source = folder / DATABASE
    if not source.is_file():
        raise CannotBackUp(f"There is no database in {folder}; name the service's folder with --data.")
    if target.exists():
        raise CannotBackUp(f"{target} is there already; choose another name or remove it.")
    with _partial(target) as partial:
        with closing(_open(source, "rw")) as ours, closing(sqlite3.connect(partial)) as theirs:
            # All pages in one step: a read transaction, which SQLite's write-ahead log lets writers pass.
            ours.backup(theirs, pages=-1)
            theirs.execute("PRAGMA journal_mode = DELETE")
        found = examine(partial)
        _publish(partial, target)
    return replace(found, path=target)


def restore(source: Path, folder: Path) -> Backup:
    """Make a folder's database from a backup. Raises `CannotBackUp`, and leaves no folder then that was not there.

    The next `annealer up` brings it up to date; jobs that ran when the backup was taken go on from its checkpoints.
    """
    found = examine(source)
    if found.revision not in migrate.revisions():
        raise CannotBackUp(f"{source} comes from a newer version of Annealer; restore it with that version.")
    target, is_new = folder / DATABASE, not folder.exists()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with held(folder), _removed_after_failure(folder, is_new), _partial(target) as partial:
        if target.exists():
            raise CannotBackUp(f"There is a database in {folder} already; choose another folder, or move it away.")
        with closing(_open(source, "ro")) as theirs, closing(sqlite3.connect(partial)) as ours:
            theirs.backup(ours, pages=-1)
        for leftover in (f"{DATABASE}-wal", f"{DATABASE}-shm"):
            (folder / leftover).unlink(missing_ok=True)
        _publish(partial, target)
    return found


def examine(path: Path) -> Backup:
    """What a backup holds. Raises `CannotBackUp` for a file that is none or is damaged.

    SQLite's check is of its own structure, and not of what the rows hold: that of a blob is checked against its hash.
    """
    try:
        with closing(_open(path, "ro")) as connection:
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check(1)")]
            if problems != ["ok"]:
                raise CannotBackUp(f"{path} is damaged: {problems[0]}.")
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            (jobs,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
            outside = _outside(connection)
            for sha256 in _damaged(connection):
                raise CannotBackUp(f"{path} is damaged: blob {sha256} is not what it was.")
    except (sqlite3.Error, TypeError) as error:
        raise CannotBackUp(f"{path} is no backup of Annealer ({error}).") from None
    return Backup(path, path.stat().st_size, jobs, revision, outside)


def _outside(connection: sqlite3.Connection) -> tuple[str, ...]:
    if _has_no_address(connection):
        return ()
    addresses = connection.execute("SELECT address FROM blobs WHERE address IS NOT NULL")
    return tuple(sorted({place_of_object(address) for (address,) in addresses}))


def _damaged(connection: sqlite3.Connection) -> Iterator[str]:
    """Complete blobs in the database whose content is another than their name says."""
    here = "" if _has_no_address(connection) else " AND address IS NULL"
    blobs = connection.execute(f"SELECT sha256 FROM blobs WHERE stored_at IS NOT NULL{here}").fetchall()
    for (sha256,) in blobs:
        found = hashlib.sha256()
        chunks = "SELECT data FROM blob_chunks WHERE sha256 = ? ORDER BY position"
        for (data,) in connection.execute(chunks, [sha256]):
            found.update(data)
        if found.hexdigest() != sha256:
            yield sha256


def _has_no_address(connection: sqlite3.Connection) -> bool:
    """Of an older version, which had all blobs in the database."""
    return "address" not in [name for _, name, *_ in connection.execute("PRAGMA table_info(blobs)")]


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True)


@contextmanager
def _removed_after_failure(folder: Path, is_new: bool) -> Iterator[None]:
    """Nobody else has begun anything in a new folder that we hold."""
    try:
        yield
    except BaseException:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """A file of nobody else beside `target`, gone at the end whatever happens."""
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _publish(partial: Path, target: Path) -> None:
    """Give a whole file its name, so that it has it after a loss of power too."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
