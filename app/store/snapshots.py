"""Snapshots of a job: where their weights are and how well they do."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.store.errors import NotFound
from app.store.models import Snapshot


def of_job(session: Session, job_id: str) -> Sequence[Snapshot]:
    """A job's snapshots, oldest first."""
    query = select(Snapshot).where(Snapshot.job_id == job_id)
    return session.scalars(query.order_by(Snapshot.number)).all()


def get(session: Session, snapshot_id: str) -> Snapshot:
    """The snapshot. Raises `NotFound`."""
    snapshot = session.get(Snapshot, snapshot_id)
    if snapshot is None:
        raise NotFound("snapshot", snapshot_id)
    return snapshot


def forget_after(session: Session, job_id: str, step: int) -> None:
    """Remove those taken after `step`: they will be taken again."""
    session.execute(delete(Snapshot).where(Snapshot.job_id == job_id, Snapshot.step > step))
