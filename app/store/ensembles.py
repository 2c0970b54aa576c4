"""Ensembles: which snapshots they average and how well they do."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.store import ids, snapshots
from app.store.errors import NotFound
from app.store.models import Ensemble, EnsembleMember, Job, Snapshot
from trainer.events import EnsembleKind, Scores, VoteScores


@dataclass(frozen=True)
class NewEnsemble:
    """An ensemble of snapshots by number, with their weights; of averaged weights, `averaged` counts them."""

    kind: EnsembleKind
    members: Sequence[tuple[int, float]]
    scores: Scores
    single: Scores
    geometric_mean: Scores
    majority_vote: VoteScores
    averaged: int | None = None


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


def owner(session: Session, ensemble_id: str) -> str:
    """Whose ensemble it is: its job's owner. Raises `NotFound`."""
    found = session.scalar(
        select(Job.owner).join(Ensemble, Ensemble.job_id == Job.id).where(Ensemble.id == ensemble_id)
    )
    if found is None:
        raise NotFound("ensemble", ensemble_id)
    return found


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


def store(session: Session, job_id: str, new: NewEnsemble) -> None:
    """Keep a job's ensemble in place of an earlier one."""
    forget(session, job_id)
    ensemble = Ensemble(
        id=ids.new("ens"),
        job_id=job_id,
        kind=new.kind,
        averaged=new.averaged,
        accuracy=new.scores.accuracy,
        error=new.scores.error,
        negative_log_likelihood=new.scores.negative_log_likelihood,
        single_accuracy=new.single.accuracy,
        single_error=new.single.error,
        single_negative_log_likelihood=new.single.negative_log_likelihood,
        geometric_mean_accuracy=new.geometric_mean.accuracy,
        geometric_mean_error=new.geometric_mean.error,
        geometric_mean_negative_log_likelihood=new.geometric_mean.negative_log_likelihood,
        majority_vote_accuracy=new.majority_vote.accuracy,
        majority_vote_error=new.majority_vote.error,
    )
    session.add(ensemble)
    session.flush()
    by_number = {snapshot.number: snapshot.id for snapshot in snapshots.of_job(session, job_id)}
    session.add_all(
        EnsembleMember(ensemble_id=ensemble.id, snapshot_id=by_number[number], position=position, weight=weight)
        for position, (number, weight) in enumerate(new.members)
    )


def forget(session: Session, job_id: str) -> None:
    """Remove a job's ensemble: it will be scored again."""
    session.execute(delete(Ensemble).where(Ensemble.job_id == job_id))
