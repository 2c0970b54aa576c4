"""Files by the sha256 of their content, in chunks, so that any size passes in constant memory."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import ColumnElement, delete, exists, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from app.store.clock import ago, now
from app.store.engine import read, retry
from app.store.errors import BlobDamaged
from app.store.models import Blob, BlobChunk, Checkpoint, Snapshot

CHUNK_BYTES = 1024 * 1024
MOST_COLLECTED = 100


def put(engine: Engine, path: Path) -> str:
    """Store a file and return its hash. What is known already is not stored again.

    Each chunk is a transaction of its own; the blob counts as stored once all are there.
    """
    with path.open("rb") as file:
        hash = _digest(file)
        size = file.tell()
        if retry(engine, lambda session: _announce(session, hash, size)):
            return hash
        file.seek(0)
        position = 0
        while data := file.read(CHUNK_BYTES):
            chunk = {"sha256": hash, "position": position, "data": data}
            retry(engine, lambda session, chunk=chunk: _upsert(session, BlobChunk, chunk))  # type: ignore[misc]
            position += 1
    complete = update(Blob).where(Blob.sha256 == hash).values(stored_at=now(), used_at=now())
    retry(engine, lambda session: session.execute(complete))
    return hash


def size(session: Session, hash: str) -> int:
    """Its bytes. Raises `BlobDamaged` where it is not stored as a whole."""
    blob = session.get(Blob, hash)
    if blob is None or blob.stored_at is None:
        raise BlobDamaged(f"The blob {hash} is not stored.")
    return blob.size


def stream(engine: Engine, hash: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Bytes from `start` up to `end` (exclusive), a chunk at a time.

    No transaction is held while the consumer takes its time. Raises `BlobDamaged` at a missing chunk.
    """
    with read(engine) as session:
        whole = size(session, hash)
    end = whole if end is None else min(end, whole)
    for position in range(start // CHUNK_BYTES, -(-end // CHUNK_BYTES)):
        with read(engine) as session:
            data = session.scalar(
                select(BlobChunk.data).where(BlobChunk.sha256 == hash, BlobChunk.position == position)
            )
        offset = position * CHUNK_BYTES
        if data is None or len(data) != min(CHUNK_BYTES, whole - offset):
            raise BlobDamaged(f"Chunk {position} of the blob {hash} is missing.")
        yield data[max(0, start - offset) : end - offset]


def fetch(engine: Engine, hash: str, path: Path) -> None:
    """Write a blob to a file, checked. Raises `BlobDamaged`. Whatever it raises, it leaves no file then."""
    partial = path.with_name(path.name + ".partial")
    digest = sha256()
    try:
        with partial.open("wb") as file:
            for data in stream(engine, hash):
                digest.update(data)
                file.write(data)
        if digest.hexdigest() != hash:
            raise BlobDamaged(f"The blob {hash} does not have its hash.")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def empty(session: Session, hash: str) -> None:
    """Forget the content of a damaged blob, so that the next `put` stores it again."""
    session.execute(delete(BlobChunk).where(BlobChunk.sha256 == hash))
    session.execute(update(Blob).where(Blob.sha256 == hash).values(stored_at=None))


def delete_unreferenced(session: Session, hashes: Sequence[str]) -> None:
    """Remove those of the blobs that no snapshot and no checkpoint refers to."""
    session.execute(delete(Blob).where(Blob.sha256.in_(hashes), ~_is_referenced()))


def collect(session: Session, unused_seconds: float) -> tuple[int, int]:
    """Remove blobs that nothing refers to and that nobody has stored or used lately; how many, and their bytes."""
    old = select(Blob.sha256, Blob.size).where(*_is_unowned(unused_seconds))
    found = session.execute(old.limit(MOST_COLLECTED).with_for_update(skip_locked=True)).all()
    hashes = [hash for hash, _ in found]
    session.execute(delete(Blob).where(Blob.sha256.in_(hashes), ~_is_referenced()))
    return len(found), sum(size for _, size in found)


def unowned(session: Session, unused_seconds: float) -> tuple[int, int]:
    """What `collect` would remove if called often enough: how many, and their bytes."""
    count, size = session.execute(
        select(func.count(), func.coalesce(func.sum(Blob.size), 0)).where(*_is_unowned(unused_seconds))
    ).one()
    return count, int(size)


def _is_unowned(unused_seconds: float) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Blob.used_at < ago(unused_seconds), ~_is_referenced()


def _is_referenced() -> ColumnElement[bool]:
    return exists().where(Snapshot.sha256 == Blob.sha256) | exists().where(Checkpoint.sha256 == Blob.sha256)


def _digest(file: BinaryIO) -> str:
    digest = sha256()
    while data := file.read(CHUNK_BYTES):
        digest.update(data)
    return digest.hexdigest()


def _announce(session: Session, hash: str, size: int) -> bool:
    """Make the blob known and used; whether it is stored already."""
    _upsert(session, Blob, {"sha256": hash, "size": size})
    session.execute(update(Blob).where(Blob.sha256 == hash).values(used_at=now()))
    return session.scalar(select(Blob.stored_at).where(Blob.sha256 == hash)) is not None


def _upsert(session: Session, table: type[Blob | BlobChunk], values: dict[str, object]) -> None:
    """Insert unless it is there: content under its hash cannot differ."""
    dialect = session.get_bind().dialect.name
    statement = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    session.execute(statement.values(values).on_conflict_do_nothing())
