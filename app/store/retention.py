"""What finished jobs leave behind and nobody may need for ever, removed by age and by total size.

Never touched: jobs, events, epochs, statistics of layers, snapshots and ensembles; they go when the job is deleted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from app.store import blobs, events, jobs, uploads, websessions
from app.store.clock import ago
from app.store.engine import patient, read, retry
from app.store.errors import NotFound
from app.store.models import Blob, Checkpoint, Job, LogChunk, SeriesBlock
from app.store.states import FINAL

STRAY_SECONDS = 24 * 3600.0
"""How long an object outside the database may be no blob's: it may be on its way there, or still be read."""
BLOB_GRACE_SECONDS = 3600.0
"""How long a blob may be nobody's: an attempt stores it before it refers to it."""
UPLOADS_SECONDS = 24 * 3600.0
"""How long an upload that nobody uses stays, unless an operator says otherwise."""
MOST_REMOVED = 500
POINT_BYTES = 16


class Leftover(StrEnum):
    """A kind of what a finished job leaves behind."""

    SERIES = "series"
    CHECKPOINTS = "checkpoints"
    LOGS = "logs"


TABLES: Mapping[Leftover, type[SeriesBlock | Checkpoint | LogChunk]] = {
    Leftover.SERIES: SeriesBlock,
    Leftover.CHECKPOINTS: Checkpoint,
    Leftover.LOGS: LogChunk,
}


@dataclass(frozen=True)
class Limit:
    """How long after the end of its job a leftover stays, and how many bytes of its kind stay; None for no limit."""

    seconds: float | None = None
    bytes: int | None = None


Limits = Mapping[Leftover, Limit]


@dataclass(frozen=True)
class Removal:
    """One kind of leftover of one job."""

    job_id: str
    kind: Leftover
    bytes: int


@dataclass(frozen=True)
class Collection:
    """What went, or would go: leftovers, uploads that nobody used, and blobs that were nobody's."""

    removals: Sequence[Removal]
    uploads: int
    blobs: int
    blob_bytes: int


def plan(session: Session, limits: Limits, uploads_seconds: float = UPLOADS_SECONDS) -> Collection:
    """What is over its limit now. Blobs that a removal makes nobody's are counted with it."""
    removals = [removal for kind, limit in limits.items() for removal in due(session, kind, limit)]
    count, size = blobs.unowned(session, BLOB_GRACE_SECONDS)
    return Collection(removals, uploads.unused(session, uploads_seconds), count, size)


def collect(engine: Engine, limits: Limits, uploads_seconds: float = UPLOADS_SECONDS) -> Collection:
    """Remove what is over its limit, each job's in a transaction of its own, and blobs that are nobody's.

    So are uploads that nobody has used for `uploads_seconds`, unless an import waits for them, and browsers that are
    signed in no longer.

    Many may do so at once: what another has removed, or has taken into use again, is passed over.
    """
    engine = patient(engine)
    with read(engine) as session:
        planned = [removal for kind, limit in limits.items() for removal in due(session, kind, limit)]
    removals = []
    for removal in planned:
        if retry(engine, lambda session, removal=removal: remove(session, removal)):  # type: ignore[misc]
            removals.append(removal)
    retry(engine, websessions.forget_expired)
    gone = 0
    while went := retry(engine, lambda session: uploads.collect(session, uploads_seconds)):
        gone += went
    count = size = 0
    while True:
        went, bytes = retry(engine, lambda session: blobs.collect(session, BLOB_GRACE_SECONDS))
        count, size = count + went, size + bytes
        if went < blobs.MOST_COLLECTED:
            break
    while blobs.collect_strays(engine, STRAY_SECONDS) == blobs.MOST_COLLECTED:
        pass
    return Collection(removals, gone, count, size)


def due(session: Session, kind: Leftover, limit: Limit) -> list[Removal]:
    """Leftovers of one kind that are too old, or too much together with all younger ones; the oldest first."""
    if limit.seconds is None and limit.bytes is None:
        return []
    is_old = Job.finished_at < ago(limit.seconds) if limit.seconds is not None else None
    query = _sizes(kind, is_old).where(Job.status.in_(FINAL))
    if limit.bytes is None and is_old is not None:
        query = query.where(is_old)
    found, total = [], 0
    for job_id, size, old in session.execute(query):
        total += int(size)
        if old or (limit.bytes is not None and total > limit.bytes):
            found.append(Removal(job_id, kind, int(size)))
    return found[::-1][:MOST_REMOVED]


def remove(session: Session, removal: Removal) -> bool:
    """Remove a leftover and say so in the job's history; False where the job is in use again, gone or without it."""
    try:
        job = jobs.lock(session, removal.job_id)
    except NotFound:
        return False
    table = TABLES[removal.kind]
    if not job.status.is_final:
        return False
    if session.execute(delete(table).where(table.job_id == job.id)).rowcount == 0:  # type: ignore[attr-defined]
        return False
    told = f"The job's {removal.kind} ({removal.bytes:,} bytes) were removed, as the service's retention says."
    events.append(session, job, "expired", told, {"what": removal.kind, "bytes": removal.bytes})
    return True


def _sizes(kind: Leftover, is_old: ColumnElement[bool] | None) -> Select[Any]:
    """Job, bytes, and whether it is old, of each job that has leftovers of a kind; the youngest first."""
    sizes: dict[Leftover, Any] = {
        Leftover.SERIES: SeriesBlock.count * POINT_BYTES,
        Leftover.CHECKPOINTS: Blob.size,
        Leftover.LOGS: LogChunk.size,
    }
    table = TABLES[kind]
    old = is_old if is_old is not None else Job.finished_at.is_(None)
    query = select(Job.id, func.sum(sizes[kind]), old).join(table, table.job_id == Job.id)
    if kind is Leftover.CHECKPOINTS:
        query = query.join(Blob, Blob.sha256 == Checkpoint.sha256)
    return query.group_by(Job.id, Job.finished_at).order_by(Job.finished_at.desc(), Job.id.desc())
