"""Checkpoints of a job: where it can go on from, and what it has to forget to do so."""

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.store import ensembles, layers, metrics, snapshots
from app.store.models import Checkpoint, Job
from app.store.states import Kind

KEPT = 2


@dataclass(frozen=True)
class CheckpointRef:
    """Where a training goes on from."""

    step: int
    epoch: int
    sha256: str


def newest(session: Session, job_id: str) -> CheckpointRef | None:
    """The checkpoint that a job goes on from, if it has one."""
    query = select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.step.desc()).limit(1)
    found = session.scalars(query).first()
    return CheckpointRef(found.step, found.epoch, found.sha256) if found else None


def keep(session: Session, job_id: str, count: int = KEPT) -> None:
    """Keep the `count` newest: by default one more, in case the newest is damaged."""
    session.flush()
    query = select(Checkpoint.step).where(Checkpoint.job_id == job_id).order_by(Checkpoint.step.desc())
    old = session.scalars(query.offset(count)).all()
    session.execute(delete(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.step.in_(old)))


def rewind(session: Session, job: Job, checkpoint: CheckpointRef | None) -> None:
    """Remove what a job, held by the caller, reported after a checkpoint (None: at all): it will come again.

    What is no training reports nothing by the step: it replaces what it has reported before.
    """
    step = checkpoint.step if checkpoint else 0
    if job.kind is Kind.TRAINING:
        metrics.forget_after(session, job.id, step)
        layers.forget_after(session, job.id, step)
        ensembles.forget(session, job.id)
        snapshots.forget_after(session, job.id, step)
    job.step = step
    job.epoch = checkpoint.epoch + 1 if checkpoint else 0
    job.images_per_second = None
