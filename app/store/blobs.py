"""Files by the sha256 of their content, in pieces, so that any size passes in constant memory.

Content is in chunks in the database, or an object outside it; each blob says where, and the engine where new ones go.
An object is written down as a stray before it is there and until a blob has it, and again once no blob has it any more:
so none is forgotten, whatever dies when, and `collect_strays` removes it.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from app.store import objects
from app.store.clock import ago, now
from app.store.engine import contents, insert_unless_there, read, retry
from app.store.errors import BlobDamaged, ContentMissing, StorageAway
from app.store.models import Blob, BlobChunk, Checkpoint, DatasetFile, JobFile, Snapshot, StrayObject, UploadPart

CHUNK_BYTES = 1024 * 1024
MOST_COLLECTED = 100
MOST_RELEASED = 32
LARGEST_RELEASED = 64 * CHUNK_BYTES
ADOPTED_SECONDS = 12 * 3600.0
"""How long storing an object may take; strays must be kept for longer."""
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
    place = contents(engine)
    _put_chunks(engine, hash, file) if place is None else _put_object(engine, hash, size, file, place)
    return hash


def size(session: Session, hash: str) -> int:
    """Its bytes. Raises `BlobDamaged` where it is not stored as a whole."""
    blob = session.get(Blob, hash)
    if blob is None or blob.stored_at is None:
        raise BlobDamaged(f"The blob {hash} is not stored.")
    return blob.size


def stream(engine: Engine, hash: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Bytes from `start` up to `end` (exclusive), a chunk at a time, also while the blob is moved.

    No transaction is held while the consumer takes its time. Raises `BlobDamaged` at a missing chunk, or `StorageAway`.
    """
    with read(engine) as session:
        whole = size(session, hash)
    end = whole if end is None else min(end, whole)
    for position in range(start // CHUNK_BYTES, -(-end // CHUNK_BYTES)):
        offset = position * CHUNK_BYTES
        data = _chunk(engine, hash, position, min(CHUNK_BYTES, whole - offset))
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
    _stray(session, session.scalars(select(Blob.address).where(Blob.sha256 == hash)))
    session.execute(update(Blob).where(Blob.sha256 == hash).values(stored_at=None, address=None))


def delete_unreferenced(session: Session, hashes: Sequence[str]) -> None:
    """Remove those of the blobs that nothing refers to."""
    gone = delete(Blob).where(Blob.sha256.in_(hashes), ~_is_referenced())
    _stray(session, session.scalars(gone.returning(Blob.address)))


def release(session: Session, hashes: Sequence[str]) -> None:
    """Remove those of the blobs that nothing refers to, as far as that is quick; what is left waits for `collect`."""
    small = select(Blob.sha256).where(Blob.sha256.in_(hashes[:MOST_RELEASED]), Blob.size <= LARGEST_RELEASED)
    delete_unreferenced(session, session.scalars(small).all())


def collect(session: Session, unused_seconds: float) -> tuple[int, int]:
    """Remove blobs that nothing refers to and that nobody has stored or used lately; how many, and their bytes."""
    old = select(Blob.sha256, Blob.size).where(*_is_unowned(unused_seconds))
    found = session.execute(old.limit(MOST_COLLECTED).with_for_update(skip_locked=True)).all()
    hashes = [hash for hash, _ in found]
    delete_unreferenced(session, hashes)
    return len(found), sum(size for _, size in found)


def collect_strays(engine: Engine, seconds: float) -> int:
    """Remove objects that no blob has had for so long; how many. Raises `StorageAway`."""
    old = select(StrayObject.address).where(StrayObject.since < ago(seconds))
    with read(engine) as session:
        found = session.scalars(old.limit(MOST_COLLECTED)).all()
    for address in found:
        objects.delete(address)
        retry(engine, lambda session, address=address: _forget_stray(session, address))  # type: ignore[misc]
    return len(found)


def misplaced(session: Session, place: str | None) -> Sequence[str]:
    """Hashes of blobs whose content is not where `place` says."""
    query = select(Blob.sha256).where(Blob.stored_at.is_not(None))
    if place is None:
        query = query.where(Blob.address.is_not(None))
    else:
        query = query.where(or_(Blob.address.is_(None), ~Blob.address.startswith(f"{place}/", autoescape=True)))
    return session.scalars(query).all()


def places(session: Session) -> Sequence[tuple[str, int, int]]:
    """Where blobs lie, how many there, and their bytes."""
    counted: dict[str, tuple[int, int]] = {}
    for address, size in session.execute(select(Blob.address, Blob.size).where(Blob.stored_at.is_not(None))):
        where = "sql" if address is None else place_of_object(address)
        files, bytes = counted.get(where, (0, 0))
        counted[where] = files + 1, bytes + size
    return [(where, *counts) for where, counts in sorted(counted.items())]


def place_of_object(address: str) -> str:
    """Where an object was put: its address without the two parts that are its own."""
    return address.rsplit("/", 2)[0]


def move(engine: Engine, hash: str, folder: Path) -> None:
    """Bring a blob's content to where new ones go, by a file in `folder`. Who reads it meanwhile is not disturbed.

    Raises `BlobDamaged`, which leaves it as it was, or `StorageAway`.
    """
    path, place = folder / hash, contents(engine)
    fetch(engine, hash, path)
    try:
        with path.open("rb") as file:
            if place is None:
                _move_into_chunks(engine, hash, file)
            else:
                _put_object(engine, hash, path.stat().st_size, file, place, replacing=True)
    finally:
        path.unlink()


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


def _put_chunks(engine: Engine, hash: str, file: BinaryIO) -> None:
    for position, data in enumerate(iter(lambda: file.read(CHUNK_BYTES), b"")):
        chunk = {"sha256": hash, "position": position, "data": data}
        retry(engine, lambda session, chunk=chunk: insert_unless_there(session, BlobChunk, chunk))  # type: ignore[misc]
    complete = update(Blob).where(Blob.sha256 == hash).values(stored_at=now(), used_at=now())
    retry(engine, lambda session: session.execute(complete))


def _put_object(engine: Engine, hash: str, size: int, file: BinaryIO, place: str, *, replacing: bool = False) -> None:
    """Store an object by a name that no other has had, and give it to the blob.

    Where another was quicker, and this one is not `replacing` it, it stays a stray.
    """
    address = f"{place}/{hash[:2]}/{hash}-{uuid4().hex}"
    retry(engine, lambda session: session.add(StrayObject(address=address)))
    objects.put(address, file)

    def adopt(session: Session) -> None:
        if not replacing and _announce(session, hash, size):
            return
        blob = session.scalars(select(Blob).where(Blob.sha256 == hash).with_for_update()).first()
        if blob is None:
            return
        # What is older may be about to be removed as a stray.
        if not _forget_stray(session, address, younger_than=ADOPTED_SECONDS):
            raise StorageAway(f"Storing {address} took so long that it is taken for a stray.")
        _stray(session, [blob.address])
        session.execute(delete(BlobChunk).where(BlobChunk.sha256 == hash))
        blob.address, blob.stored_at, blob.used_at = address, now(), now()

    retry(engine, adopt)


def _move_into_chunks(engine: Engine, hash: str, file: BinaryIO) -> None:
    _put_chunks(engine, hash, file)

    def adopt(session: Session) -> None:
        blob = session.scalars(select(Blob).where(Blob.sha256 == hash).with_for_update()).first()
        if blob is not None:
            _stray(session, [blob.address])
            blob.address = None

    retry(engine, adopt)


def _chunk(engine: Engine, hash: str, position: int, length: int) -> bytes:
    """The bytes of a blob at a multiple of `CHUNK_BYTES`. Raises `BlobDamaged` or `StorageAway`."""
    at = (BlobChunk.sha256 == Blob.sha256) & (BlobChunk.position == position)
    query = select(Blob.address, BlobChunk.data).outerjoin(BlobChunk, at).where(Blob.sha256 == hash)
    with read(engine) as session:
        address, data = session.execute(query).one_or_none() or (None, None)
    if address is not None:
        start = position * CHUNK_BYTES
        try:
            data = objects.read(address, start, start + length)
        except ContentMissing:
            data = None
    if data is None or len(data) != length:
        raise BlobDamaged(f"Chunk {position} of the blob {hash} is missing.")
    return bytes(data)


def _stray(session: Session, addresses: Iterable[str | None]) -> None:
    """These objects are no blob's any more."""
    session.add_all([StrayObject(address=address) for address in addresses if address is not None])
    session.flush()


def _forget_stray(session: Session, address: str, *, younger_than: float | None = None) -> bool:
    """Whether it was one, for no more than so many seconds if they are given."""
    forgotten = delete(StrayObject).where(StrayObject.address == address)
    if younger_than is not None:
        forgotten = forgotten.where(StrayObject.since > ago(younger_than))
    return session.scalar(forgotten.returning(StrayObject.address)) is not None
