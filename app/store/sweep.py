"""Puts right what workers left behind, and finds jobs that wait unheard.

Harmless from many workers at once: locked rows are skipped.
"""

from collections.abc import Mapping

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from app.store import attempts, turns, workers
from app.store.clock import ago, now
from app.store.models import Attempt, Job
from app.store.states import Status
from trainer.offer import Offer

MOST_RESCUED = 100
MOST_BELLS = 100

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


def needing_bell(session: Session, older_than_seconds: float, offers: Mapping[str, Offer]) -> list[tuple[str, str]]:
    """Queued jobs that fit `offers` and whose last bell is long ago, as (id, device), the oldest first.

    They count as rung now.
    """
    silent = or_(Job.rung_at.is_(None), Job.rung_at < ago(older_than_seconds))
    query = select(Job.id, Job.device).where(Job.status == Status.QUEUED, turns.fits(offers), silent)
    query = query.order_by(Job.id).limit(MOST_BELLS).with_for_update(skip_locked=True)
    waiting = [(job_id, device) for job_id, device in session.execute(query)]
    if waiting:
        chosen = [job_id for job_id, _ in waiting]
        session.execute(update(Job).where(Job.id.in_(chosen)).values(rung_at=now()))
    return waiting


def has_overdue(session: Session, seconds: float, offers: Mapping[str, Offer]) -> bool:
    """Whether a job that fits `offers` is queued so long after its submission, whoever has rung for it."""
    old = Job.created_at < ago(seconds)
    found = select(Job.id).where(Job.status == Status.QUEUED, turns.fits(offers), old).limit(1)
    return session.scalar(found) is not None
