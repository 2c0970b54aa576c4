"""Ensembles: what they are made of and how well they do.

A training makes at most one, when it ends. All others are made by request and scored by a job of their own; they never
change but for what that job finds out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.store import cursors, ids, jobs, snapshots
from app.store.errors import NotFound
from app.store.jobs import Idempotency, NewJob
from app.store.models import Dataset, Ensemble, EnsembleMember, Job, Snapshot
from app.store.states import Kind
from trainer.events import EnsembleKind, Scores, VoteScores
from trainer.report import Report
from trainer.spec.scoring import NamedSnapshots, ScoringSpec

COMBINED = "combined"
"""The kind of those that were made by request."""


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
class MeasuredEnsemble:
    """What a scoring has found: `trainer.events.EnsembleMeasured`."""

    shares: Sequence[float]
    report: Mapping[str, Any]
    geometric_mean: Scores
    majority_vote: VoteScores


@dataclass(frozen=True)
class Member:
    """A snapshot and its share in the average, None while it is still to be found out."""

    snapshot: Snapshot
    weight: float | None


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
    """The ensemble that a job makes: a training's once it has come so far and if it was asked for one."""
    return session.scalars(select(Ensemble).where(Ensemble.job_id == job_id)).first()


def made_of(session: Session, job_id: str) -> Sequence[Ensemble]:
    """Ensembles by request that have a snapshot of a training, of the training's owner, the oldest first."""
    whose = select(Job.owner).where(Job.id == job_id).scalar_subquery()
    with_one = (
        select(EnsembleMember.ensemble_id)
        .join(Snapshot, Snapshot.id == EnsembleMember.snapshot_id)
        .where(Snapshot.job_id == job_id)
    )
    query = select(Ensemble).join(Job, Job.id == Ensemble.job_id)
    query = query.where(Ensemble.kind == COMBINED, Ensemble.id.in_(with_one), Job.owner == whose)
    return session.scalars(query.order_by(Ensemble.id)).all()


def page(session: Session, owner: str | None, after: str | None, limit: int) -> tuple[Sequence[Ensemble], str | None]:
    """`limit` ensembles of an owner, None for all, the newest first, and the cursor after them, None at the end.

    Raises `CursorInvalid`.
    """
    query = select(Ensemble).join(Job, Job.id == Ensemble.job_id)
    bound = ["ensembles", owner]
    if owner is not None:
        query = query.where(Job.owner == owner)
    if after is not None:
        (last,) = cursors.decode(bound, after, 1)
        query = query.where(Ensemble.id < last)
    found = session.scalars(query.order_by(Ensemble.id.desc()).limit(limit + 1)).all()
    following = cursors.encode(bound, [found[limit - 1].id]) if len(found) > limit else None
    return found[:limit], following


def members(session: Session, ensemble_id: str) -> Sequence[Member]:
    """Its snapshots in order, without those that were not chosen."""
    return members_of(session, [ensemble_id])[ensemble_id]


def members_of(session: Session, ensemble_ids: Sequence[str]) -> Mapping[str, Sequence[Member]]:
    """The same of several ensembles at once."""
    query = (
        select(EnsembleMember, Snapshot)
        .join(Snapshot, EnsembleMember.snapshot_id == Snapshot.id)
        .where(EnsembleMember.ensemble_id.in_(ensemble_ids))
        .order_by(EnsembleMember.position)
    )
    found: dict[str, list[Member]] = {id: [] for id in ensemble_ids}
    for share, snapshot in session.execute(query):
        if share.weight != 0:
            found[share.ensemble_id].append(Member(snapshot, share.weight))
    return found


def members_of_job(session: Session, job_id: str) -> Sequence[Snapshot]:
    """What a scoring is to choose from, in order."""
    query = select(Snapshot).join(EnsembleMember, EnsembleMember.snapshot_id == Snapshot.id)
    query = query.join(Ensemble, Ensemble.id == EnsembleMember.ensemble_id).where(Ensemble.job_id == job_id)
    return session.scalars(query.order_by(EnsembleMember.position)).all()


def make(
    session: Session,
    spec: ScoringSpec,
    dataset: Dataset,
    chosen_from: Sequence[Snapshot],
    *,
    max_attempts: int,
    owner: str = jobs.DEFAULT_OWNER,
    max_queued: int | None = None,
    idempotency: Idempotency | None = None,
) -> tuple[Ensemble, bool]:
    """Make an ensemble and queue the job that scores it, or find what the same key made, as `jobs.enqueue`.

    The caller holds the jobs of the snapshots, all of which are final.
    """
    named = NamedSnapshots(kind="snapshots", ids=tuple(snapshot.id for snapshot in chosen_from))
    resolved = spec.model_copy(update={"members": named, "dataset": dataset.name, "score_on": spec.scored_on})
    new = NewJob(
        kind=Kind.SCORING,
        name=spec.name,
        spec=resolved.model_dump(mode="json"),
        spec_sha256=resolved.sha256,
        device=spec.device,
        steps=len(chosen_from),
        labels=spec.labels,
        dataset_id=dataset.id,
        priority=spec.priority,
        max_attempts=spec.max_attempts,
        max_runtime=spec.max_runtime,
    )
    job, created = jobs.enqueue(
        session, new, max_attempts=max_attempts, owner=owner, max_queued=max_queued, idempotency=idempotency
    )
    if created:
        ensemble = Ensemble(id=ids.new("ens"), job_id=job.id, kind=COMBINED)
        session.add(ensemble)
        session.flush()
        session.add_all(
            EnsembleMember(ensemble_id=ensemble.id, snapshot_id=snapshot.id, position=position, weight=None)
            for position, snapshot in enumerate(chosen_from)
        )
        session.flush()
        session.refresh(ensemble)
        return ensemble, True
    return session.scalars(select(Ensemble).where(Ensemble.job_id == job.id)).one(), False


def store(session: Session, job_id: str, new: NewEnsemble) -> None:
    """Keep a training's ensemble in place of an earlier one."""
    forget(session, job_id)
    ensemble = Ensemble(id=ids.new("ens"), job_id=job_id, kind=new.kind, averaged=new.averaged)
    _set_scores(ensemble, new.scores, new.single)
    _set_other_combinations(ensemble, new.geometric_mean, new.majority_vote)
    session.add(ensemble)
    session.flush()
    by_number = {snapshot.number: snapshot.id for snapshot in snapshots.of_job(session, job_id)}
    session.add_all(
        EnsembleMember(ensemble_id=ensemble.id, snapshot_id=by_number[number], position=position, weight=weight)
        for position, (number, weight) in enumerate(new.members)
    )


def store_measured(session: Session, job_id: str, found: MeasuredEnsemble) -> None:
    """Keep what a scoring has found; found again, it is the same."""
    ensemble = session.scalars(select(Ensemble).where(Ensemble.job_id == job_id)).one()
    report = Report.model_validate(found.report)
    best = report.members[report.gain.best_member]
    single = Scores(best.accuracy, best.error, best.negative_log_likelihood)
    _set_scores(ensemble, report, single)
    _set_other_combinations(ensemble, found.geometric_mean, found.majority_vote)
    ensemble.report = dict(found.report)
    shares = select(EnsembleMember).where(EnsembleMember.ensemble_id == ensemble.id).order_by(EnsembleMember.position)
    for member, share in zip(session.scalars(shares), found.shares, strict=True):
        member.weight = share
    session.flush()


def release_unchosen(session: Session, job_id: str) -> None:
    """The scoring is done: what was not chosen is not needed any more."""
    ensemble = select(Ensemble.id).where(Ensemble.job_id == job_id).scalar_subquery()
    session.execute(delete(EnsembleMember).where(EnsembleMember.ensemble_id == ensemble, EnsembleMember.weight == 0))


def forget(session: Session, job_id: str) -> None:
    """Remove a training's ensemble: it will be scored again."""
    session.execute(delete(Ensemble).where(Ensemble.job_id == job_id))


def _set_scores(ensemble: Ensemble, found: Scores | Report, single: Scores) -> None:
    ensemble.accuracy, ensemble.error = found.accuracy, found.error
    ensemble.negative_log_likelihood = found.negative_log_likelihood
    ensemble.single_accuracy, ensemble.single_error = single.accuracy, single.error
    ensemble.single_negative_log_likelihood = single.negative_log_likelihood


def _set_other_combinations(ensemble: Ensemble, geometric_mean: Scores, majority_vote: VoteScores) -> None:
    ensemble.geometric_mean_accuracy = geometric_mean.accuracy
    ensemble.geometric_mean_error = geometric_mean.error
    ensemble.geometric_mean_negative_log_likelihood = geometric_mean.negative_log_likelihood
    ensemble.majority_vote_accuracy = majority_vote.accuracy
    ensemble.majority_vote_error = majority_vote.error
