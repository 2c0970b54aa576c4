"""Snapshots of a job: where their weights are and how well they do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.store import ids
from app.store.errors import InUse, NotFound
from app.store.models import Ensemble, EnsembleMember, Job, JobSnapshot, Snapshot
from app.store.states import FINAL
from trainer.events import Scores


@dataclass(frozen=True)
class SnapshotRef:
    """A snapshot that a job goes on from: taken before its checkpoint, or to be scored."""

    id: str
    number: int
    step: int
    sha256: str


@dataclass(frozen=True)
class NewSnapshot:
    """A snapshot whose weights are stored in the blob `sha256`."""

    number: int
    epoch: int
    step: int
    scores: Scores
    provenance: Mapping[str, Any]
    sha256: str


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


def owner(session: Session, snapshot_id: str) -> str:
    """Whose snapshot it is: its job's owner. Raises `NotFound`."""
    found = session.scalar(
        select(Job.owner).join(Snapshot, Snapshot.job_id == Job.id).where(Snapshot.id == snapshot_id)
    )
    if found is None:
        raise NotFound("snapshot", snapshot_id)
    return found


def ref(snapshot: Snapshot) -> SnapshotRef:
    """What a worker needs to know of it."""
    return SnapshotRef(snapshot.id, snapshot.number, snapshot.step, snapshot.sha256)


def use(session: Session, job_id: str, members: Sequence[Snapshot]) -> None:
    """A job is to predict with snapshots, or to export them, in this order."""
    rows = [JobSnapshot(job_id=job_id, position=place, snapshot_id=one.id) for place, one in enumerate(members)]
    session.add_all(rows)
    session.flush()


def used_by(session: Session, job_id: str) -> Sequence[Snapshot]:
    """The snapshots that a job is to `use`, but for those that have gone."""
    query = select(Snapshot).join(JobSnapshot, JobSnapshot.snapshot_id == Snapshot.id)
    return session.scalars(query.where(JobSnapshot.job_id == job_id).order_by(JobSnapshot.position)).all()


def refuse_use(session: Session, job_id: str, done: str) -> None:
    """Raise `InUse` where others need snapshots of this job, which is to be `done`; it is held.

    These are ensembles of other jobs, and jobs that predict or export and are not final.
    """
    combined = select(Ensemble.id).join(EnsembleMember).join(Snapshot, Snapshot.id == EnsembleMember.snapshot_id)
    combined = combined.where(Snapshot.job_id == job_id, Ensemble.job_id != job_id).distinct().order_by(Ensemble.id)
    at_work = select(Job.id).join(JobSnapshot, JobSnapshot.job_id == Job.id).join(Snapshot)
    at_work = at_work.where(Snapshot.job_id == job_id, Job.status.not_in(FINAL)).distinct().order_by(Job.id)
    if users := [*session.scalars(combined), *session.scalars(at_work)]:
        raise InUse(job_id, done, users)


def store(session: Session, job_id: str, new: NewSnapshot) -> None:
    """Keep a snapshot; taken twice, it is kept once."""
    known = session.scalars(select(Snapshot).where(Snapshot.job_id == job_id, Snapshot.number == new.number)).first()
    snapshot = known or Snapshot(id=ids.new("snap"), job_id=job_id, number=new.number)
    snapshot.epoch, snapshot.step, snapshot.sha256 = new.epoch, new.step, new.sha256
    snapshot.accuracy = new.scores.accuracy
    snapshot.error = new.scores.error
    snapshot.negative_log_likelihood = new.scores.negative_log_likelihood
    snapshot.provenance = dict(new.provenance)
    session.add(snapshot)
    session.flush()


def forget_after(session: Session, job_id: str, step: int) -> None:
    """Remove those taken after `step`: they will be taken again."""
    session.execute(delete(Snapshot).where(Snapshot.job_id == job_id, Snapshot.step > step))
