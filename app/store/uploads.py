"""Files on their way in, part by part, so that a broken connection costs a part and not the file.

A client announces name, size and hash; asked again it finds the same upload, and so goes on where it was. Parts may
come in any order, several at once, and again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from sqlalchemy import ColumnElement, delete, exists, func, select, update
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.store import blobs, ids
from app.store.clock import ago, now
from app.store.engine import insert_unless_there, retry
from app.store.errors import NotFound, PartInvalid, UploadInUse, UploadsFull
from app.store.models import Job, Upload, UploadPart
from app.store.states import FINAL

MOST_PARTS = 10_000
MOST_COLLECTED = 100


@dataclass(frozen=True)
class UploadRef:
    """A whole upload, for a worker to fetch: the blobs of its parts in order."""

    name: str
    size: int
    sha256: str
    parts: tuple[str, ...]


def begin(
    session: Session, *, owner: str, name: str, size: int, sha256: str, part_bytes: int, most_bytes: int
) -> tuple[Upload, bool]:
    """A new upload, or the owner's of the same content; whether it is new.

    Parts have `part_bytes`, or more where they would be too many. Raises `UploadsFull` where all uploads together would
    come to more than `most_bytes`.
    """
    query = select(Upload).where(Upload.owner == owner, Upload.sha256 == sha256, Upload.size == size)
    known = session.scalars(query.with_for_update()).first()
    if known:
        known.name, known.used_at = name, now()
        session.flush()
        session.refresh(known)
        return known, False
    total = session.scalar(select(func.coalesce(func.sum(Upload.size), 0))) or 0
    if total + size > most_bytes:
        raise UploadsFull(
            f"Uploads that wait to be imported have {total} bytes, and together they may have {most_bytes}; "
            "delete one, or wait until one is imported."
        )
    new: dict[str, object] = {"id": ids.new("up"), "owner": owner, "name": name, "size": size, "sha256": sha256}
    new["part_bytes"] = max(part_bytes, -(-size // MOST_PARTS))
    insert_unless_there(session, Upload, new)
    upload = session.scalars(query).one()
    return upload, upload.id == new["id"]


def get(session: Session, upload_id: str) -> Upload:
    """The upload. Raises `NotFound`."""
    upload = session.get(Upload, upload_id)
    if upload is None:
        raise NotFound("upload", upload_id)
    return upload


def owner(session: Session, upload_id: str) -> str:
    """Whose it is. Raises `NotFound`."""
    return get(session, upload_id).owner


def of_owner(session: Session, owner: str | None) -> Sequence[Upload]:
    """Uploads of an owner, None for all, the oldest first."""
    query = select(Upload).order_by(Upload.id)
    return session.scalars(query if owner is None else query.where(Upload.owner == owner)).all()


def parts(session: Session, upload_id: str) -> Sequence[UploadPart]:
    """What has arrived, in order."""
    return session.scalars(
        select(UploadPart).where(UploadPart.upload_id == upload_id).order_by(UploadPart.number)
    ).all()


def part_count(upload: Upload) -> int:
    """How many parts make it whole."""
    return -(-upload.size // upload.part_bytes)


def missing(session: Session, upload: Upload) -> list[int]:
    """The numbers of the parts that have not arrived."""
    return sorted(set(range(1, part_count(upload) + 1)) - {part.number for part in parts(session, upload.id)})


def part_size(upload: Upload, number: int) -> int:
    """The bytes that a part must have. Raises `PartInvalid` where there is no such part."""
    count = part_count(upload)
    if not 1 <= number <= count:
        raise PartInvalid(f"The upload {upload.id} has parts 1 to {count}.")
    return upload.part_bytes if number < count else upload.size - upload.part_bytes * (count - 1)


def put(engine: Engine, upload_id: str, number: int, file: BinaryIO) -> UploadPart:
    """Store a part from an open file. Put again, it is there once; another content takes the place of the first.

    Raises `NotFound`, `PartInvalid`, and `UploadInUse` where an import reads what is there.
    """
    has_collided = False
    while True:
        hash = blobs.put_open(engine, file)
        size = file.tell()
        try:
            return retry(engine, lambda session: _refer(session, upload_id, number, hash, size))  # noqa: B023
        except IntegrityError:
            # The same content was another's a moment ago, and went with it.
            if has_collided:
                raise
            has_collided = True


def ref(session: Session, job_id: str) -> UploadRef | None:
    """The upload that an import reads; None where it is gone."""
    upload = session.scalars(select(Upload).where(Upload.job_id == job_id)).first()
    if upload is None:
        return None
    hashes = tuple(part.sha256 for part in parts(session, upload.id))
    return UploadRef(upload.name, upload.size, upload.sha256, hashes)


def remove(session: Session, upload_id: str) -> None:
    """Forget an upload and what has arrived of it. Raises `NotFound`, and `UploadInUse` where an import reads it."""
    upload = _lock(session, upload_id)
    refuse_while_read(session, upload)
    _remove(session, [upload.id])


def remove_of_job(session: Session, job_id: str) -> None:
    """Forget what an import has read."""
    _remove(session, session.scalars(select(Upload.id).where(Upload.job_id == job_id)).all())


def refuse_while_read(session: Session, upload: Upload) -> None:
    """Raise `UploadInUse` where an unfinished import reads it; the upload is held."""
    job = session.get(Job, upload.job_id) if upload.job_id else None
    if job and not job.status.is_final:
        raise UploadInUse(f"Job {job.id} reads the upload {upload.id}; wait for its end, or cancel it.")


def collect(session: Session, unused_seconds: float) -> int:
    """Remove uploads that nobody has used lately and no import waits for; how many."""
    query = select(Upload.id).where(*_is_unused(unused_seconds)).limit(MOST_COLLECTED)
    found = session.scalars(query.with_for_update(skip_locked=True)).all()
    _remove(session, found)
    return len(found)


def unused(session: Session, unused_seconds: float) -> int:
    """How many `collect` would remove if called often enough."""
    return session.scalar(select(func.count()).select_from(Upload).where(*_is_unused(unused_seconds))) or 0


def _is_unused(unused_seconds: float) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    waiting = exists().where(Job.id == Upload.job_id, Job.status.not_in(FINAL))
    return Upload.used_at < ago(unused_seconds), ~waiting


def _refer(session: Session, upload_id: str, number: int, hash: str, size: int) -> UploadPart:
    upload = _lock(session, upload_id)
    refuse_while_read(session, upload)
    if size != (expected := part_size(upload, number)):
        raise PartInvalid(f"Part {number} of the upload {upload_id} has {expected} bytes, not {size}.")
    session.execute(update(Upload).where(Upload.id == upload_id).values(used_at=now()))
    part = session.get(UploadPart, (upload_id, number))
    if part is None:
        part = UploadPart(upload_id=upload_id, number=number, sha256=hash, size=size)
        session.add(part)
    elif part.sha256 != hash:
        before, part.sha256 = part.sha256, hash
        session.flush()
        blobs.delete_unreferenced(session, [before])
    session.flush()
    return part


def _lock(session: Session, upload_id: str) -> Upload:
    query = select(Upload).where(Upload.id == upload_id).with_for_update()
    upload = session.scalars(query, execution_options={"populate_existing": True}).first()
    if upload is None:
        raise NotFound("upload", upload_id)
    return upload


def _remove(session: Session, upload_ids: Sequence[str]) -> None:
    if not upload_ids:
        return
    of_these = UploadPart.upload_id.in_(upload_ids)
    hashes = session.scalars(select(UploadPart.sha256).where(of_these).distinct()).all()
    session.execute(delete(UploadPart).where(of_these))
    session.execute(delete(Upload).where(Upload.id.in_(upload_ids)))
    blobs.release(session, hashes)
