"""Files by the sha256 of their content, in chunks, so that any size passes in constant memory."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from app.store.clock import ago, now
from app.store.engine import insert_unless_there, read, retry
from app.store.errors import BlobDamaged
from app.store.models import Blob, BlobChunk, Checkpoint, DatasetFile, JobFile, Snapshot, UploadPart

CHUNK_BYTES = 1024 * 1024
MOST_COLLECTED = 100
MOST_RELEASED = 32
LARGEST_RELEASED = 64 * CHUNK_BYTES
REFERRING = (Snapshot, Checkpoint, DatasetFile, UploadPart, JobFile)
"""Tables whose rows keep the blob of their `sha256`."""


def put(engine: Engine, path: Path) -> str:
    """Store a file and return its hash. What is known already is not stored again.

    Each chunk is a transaction of its own; the blob counts as stored once all are there.
    """
    with path.open("rb") as file:
        return put_open(engine, file)


def put_open(engine: Engine, file: BinaryIO) -> str:
    """The same of an open file, from its start."""
    file.seek(0)
    hash = digest(file)
    size = file.tell()
    if retry(engine, lambda session: _announce(session, hash, size)):
        return hash
    file.seek(0)
    position = 0
    while data := file.read(CHUNK_BYTES):
        chunk = {"sha256": hash, "position": position, "data": data}
        retry(engine, lambda session, chunk=chunk: insert_unless_there(session, BlobChunk, chunk))  # type: ignore[misc]
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
    join(engine, [hash], hash, path)


def join(engine: Engine, hashes: Sequence[str], hash: str, path: Path) -> None:
    """Write blobs one after another to a file, which must then have a hash. Raises and leaves nothing as `fetch`."""
    partial = path.with_name(path.name + ".partial")
    found = sha256()
    try:
        with partial.open("wb") as file:
            for part in hashes:
                for data in stream(engine, part):
                    found.update(data)
                    file.write(data)
        if found.hexdigest() != hash:
            raise BlobDamaged(f"The blob {hash} does not have its hash.")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def empty(session: Session, hash: str) -> None:
    """Forget the content of a damaged blob, so that the next `put` stores it again."""
    session.execute(delete(BlobChunk).where(BlobChunk.sha256 == hash))
    session.execute(update(Blob).where(Blob.sha256 == hash).values(stored_at=None))


def delete_unreferenced(session: Session, hashes: Sequence[str]) -> None:
    """Remove those of the blobs that nothing refers to."""
    session.execute(delete(Blob).where(Blob.sha256.in_(hashes), ~_is_referenced()))


def release(session: Session, hashes: Sequence[str]) -> None:
    """Remove those of the blobs that nothing refers to, as far as that is quick; what is left waits for `collect`."""
    small = select(Blob.sha256).where(Blob.sha256.in_(hashes[:MOST_RELEASED]), Blob.size <= LARGEST_RELEASED)
    delete_unreferenced(session, session.scalars(small).all())


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
    return or_(*(exists().where(table.sha256 == Blob.sha256) for table in REFERRING))


def digest(file: BinaryIO) -> str:
    """The hash of what is left of a file, which is read to its end."""
    found = sha256()
    while data := file.read(CHUNK_BYTES):
        found.update(data)
    return found.hexdigest()


def _announce(session: Session, hash: str, size: int) -> bool:
    """Make the blob known and used; whether it is stored already."""
    insert_unless_there(session, Blob, {"sha256": hash, "size": size})
    session.execute(update(Blob).where(Blob.sha256 == hash).values(used_at=now()))
    return session.scalar(select(Blob.stored_at).where(Blob.sha256 == hash)) is not None
