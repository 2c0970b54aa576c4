"""What a job's training processes wrote to stdout and stderr, newest kept.

The output of all attempts is one sequence of bytes, counted from the first that was ever written. It is stored in
chunks of one attempt each; over the limit the oldest chunks go, and the first that is left tells how much went.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.store import attempts, jobs
from app.store.clock import now
from app.store.models import LogChunk

CHUNK_BYTES = 16 * 1024
FEWEST_BYTES = 4 * CHUNK_BYTES
"""The smallest limit for a job."""


@dataclass(frozen=True)
class Extent:
    """Which bytes are there: from `first` up to `end` (exclusive); equal where there are none."""

    first: int
    end: int


@dataclass(frozen=True)
class Stretch:
    """Bytes of one attempt, the first of which is byte `start`; `written_at` is when the last came."""

    attempt: int
    start: int
    data: bytes
    written_at: datetime

    @property
    def end(self) -> int:
        """The byte after its last."""
        return self.start + len(self.data)


def append(
    session: Session, job_id: str, attempt: int, lease_seconds: float, start: int, data: bytes, most_bytes: int
) -> None:
    """Add `data` as the bytes from `start` on. Told twice, it is stored once. Raises `Fenced`.

    Of the job's output at most `most_bytes` (at least `FEWEST_BYTES`) are kept.
    """
    attempts.renew(session, job_id, attempt, lease_seconds)
    job = jobs.lock(session, job_id)
    end = extent(session, job_id).end
    fresh = data[max(0, end - start) :]
    last = session.get(LogChunk, (job_id, _last_start(session, job_id)))
    if last and last.attempt == attempt and (room := CHUNK_BYTES - last.size) > 0:
        last.data += fresh[:room]
        last.size = len(last.data)
        last.created_at = now()
        fresh = fresh[room:]
    end = max(end, start + len(data))
    for position in range(0, len(fresh), CHUNK_BYTES):
        piece = fresh[position : position + CHUNK_BYTES]
        begin = end - len(fresh) + position
        session.add(LogChunk(job_id=job_id, start=begin, size=len(piece), attempt=attempt, data=piece))
    session.flush()
    session.execute(delete(LogChunk).where(LogChunk.job_id == job_id, LogChunk.start < end - most_bytes))
    job.version += 1


def extent(session: Session, job_id: str) -> Extent:
    """Which bytes of a job's output are there."""
    bounds = select(func.min(LogChunk.start), func.max(LogChunk.start + LogChunk.size))
    first, end = session.execute(bounds.where(LogChunk.job_id == job_id)).one()
    return Extent(first or 0, end or 0)


def read(session: Session, job_id: str, start: int, limit: int) -> Sequence[Stretch]:
    """At most `limit` bytes from byte `start` on, or from the first that is there; one stretch an attempt.

    No character is cut at the end, unless it is the first.
    """
    query = select(LogChunk).where(LogChunk.job_id == job_id, LogChunk.start + LogChunk.size > start)
    query = query.order_by(LogChunk.start).limit(limit // CHUNK_BYTES * 2 + 2)
    found: list[Stretch] = []
    for chunk in session.scalars(query):
        skipped = max(0, start - chunk.start)
        data = chunk.data[skipped : skipped + limit]
        limit -= len(data)
        begin = chunk.start + skipped
        if found and (found[-1].attempt, found[-1].end) == (chunk.attempt, begin):
            before = found.pop()
            begin, data = before.start, before.data + data
        found.append(Stretch(chunk.attempt, begin, data, chunk.created_at))
        if limit == 0:
            whole = whole_characters(data) or len(data)
            return [*found[:-1], replace(found[-1], data=data[:whole])]
    return found


def tail(session: Session, job_id: str, lines: int) -> int:
    """The byte with which the last `lines` lines begin."""
    begin = end = extent(session, job_id).end
    left = lines
    for chunk in _backwards(session, job_id):
        text = chunk.data[:-1] if begin == end and chunk.data.endswith(b"\n") else chunk.data
        while left and text:
            text, newline, _ = text.rpartition(b"\n")
            if newline:
                left -= 1
                begin = chunk.start + len(text) + 1
        if not left:
            return begin
        begin = chunk.start
    return begin


def whole_characters(data: bytes | bytearray) -> int:
    """How many of the bytes are whole characters of UTF-8, for text that goes on."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0b1100_0000 == 0b1000_0000:
            continue
        length = 1 if byte < 0b1000_0000 else 2 if byte < 0b1110_0000 else 3 if byte < 0b1111_0000 else 4
        return len(data) - back if length > back else len(data)
    return len(data)


def _backwards(session: Session, job_id: str) -> Iterator[LogChunk]:
    query = select(LogChunk).where(LogChunk.job_id == job_id).order_by(LogChunk.start.desc()).limit(1)
    before = extent(session, job_id).end
    while chunk := session.scalars(query.where(LogChunk.start < before)).first():
        yield chunk
        before = chunk.start


def _last_start(session: Session, job_id: str) -> int:
    return session.scalar(select(func.max(LogChunk.start)).where(LogChunk.job_id == job_id)) or 0
