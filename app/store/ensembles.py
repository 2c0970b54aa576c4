"""Ensembles: which snapshots they average and how well they do."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.store.errors import NotFound
from app.store.models import Ensemble, EnsembleMember, Snapshot


@dataclass(frozen=True)
class Member:
    """A snapshot and its share in the average."""

    snapshot: Snapshot
    weight: float


def get(session: Session, ensemble_id: str) -> Ensemble:
    """The ensemble. Raises `NotFound`."""
    ensemble = session.get(Ensemble, ensemble_id)
    if ensemble is None:
        raise NotFound("ensemble", ensemble_id)
    return ensemble


def of_job(session: Session, job_id: str) -> Ensemble | None:
    """The ensemble that a job made, if it has come so far and was asked for one."""
    return session.scalars(select(Ensemble).where(Ensemble.job_id == job_id)).first()


def members(session: Session, ensemble_id: str) -> Sequence[Member]:
    """Its snapshots, oldest first."""
    query = (
        select(Snapshot, EnsembleMember.weight)
        .join(EnsembleMember, EnsembleMember.snapshot_id == Snapshot.id)
        .where(EnsembleMember.ensemble_id == ensemble_id)
        .order_by(EnsembleMember.position)
    )
    return [Member(snapshot, weight) for snapshot, weight in session.execute(query)]


def forget(session: Session, job_id: str) -> None:
    """Remove a job's ensemble: it will be scored again."""
    session.execute(delete(Ensemble).where(Ensemble.job_id == job_id))
