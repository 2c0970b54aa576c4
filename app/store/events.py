"""A job's history: append-only, numbered from 1 within the job."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.models import Event, Job


def append(session: Session, job: Job, kind: str, message: str, data: Mapping[str, Any] | None = None) -> None:
    """Add an event to a job that the caller holds locked. `message` is a sentence for operators."""
    job.event_count += 1
    job.version += 1
    session.add(
        Event(
            job_id=job.id,
            number=job.event_count,
            attempt=job.attempt or None,
            kind=kind,
            message=message,
            data=dict(data or {}),
        )
    )


def after(session: Session, job_id: str, number: int, limit: int) -> Sequence[Event]:
    """Events with a number greater than `number`, oldest first."""
    query = select(Event).where(Event.job_id == job_id, Event.number > number)
    return session.scalars(query.order_by(Event.number).limit(limit)).all()


def last(session: Session, job_id: str, kind: str) -> Event | None:
    """The newest event of a kind."""
    query = select(Event).where(Event.job_id == job_id, Event.kind == kind)
    return session.scalar(query.order_by(Event.number.desc()).limit(1))
