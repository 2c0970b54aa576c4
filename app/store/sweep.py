"""Puts right what a worker left behind. Harmless from many workers at once: locked rows are skipped."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store import attempts, workers
from app.store.clock import now
from app.store.models import Attempt
from app.store.states import Status

MOST_RESCUED = 100

Rescued = tuple[str, int, Status]
"""A job, the attempt that was closed, and the job's status now."""


def rescue(session: Session) -> list[Rescued]:
    """Close attempts whose lease has run out."""
    query = select(Attempt).where(Attempt.outcome.is_(None), Attempt.lease_expires_at < now())
    lost = session.scalars(query.limit(MOST_RESCUED).with_for_update(skip_locked=True)).all()
    return [
        (attempt.job_id, attempt.number, attempts.lose(session, attempt, "stopped renewing its lease"))
        for attempt in lost
    ]


def rescue_of(session: Session, worker_id: str) -> list[Rescued]:
    """Close the attempts of a worker that is known to be gone, without waiting for their leases."""
    query = select(Attempt).where(Attempt.outcome.is_(None), Attempt.worker_id == worker_id)
    lost = session.scalars(query.with_for_update(skip_locked=True)).all()
    workers.forget(session, worker_id)
    return [
        (attempt.job_id, attempt.number, attempts.lose(session, attempt, "has ended without finishing its job"))
        for attempt in lost
    ]
