"""Jobs that make files of a model: its predictions of a data set, or itself for other programs."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store import jobs, snapshots
from app.store.jobs import Idempotency, NewJob
from app.store.models import Dataset, Job
from app.store.serving import Served
from app.store.states import Kind, Status
from trainer.spec.exporting import ExportSpec, ResolvedExport
from trainer.spec.model import Model, ModelMember
from trainer.spec.prediction import PredictionSpec, ResolvedPrediction

Resolved = ResolvedPrediction | ResolvedExport


def model(served: Served) -> Model:
    """What a snapshot or an ensemble is, for a spec."""
    return Model(
        members=tuple(ModelMember(snapshot_id=share.snapshot_id, weight=share.weight) for share in served.shares),
        combine=served.combine,
        temperature=served.temperature,
    )


def prediction(asked: PredictionSpec, served: Served) -> ResolvedPrediction:
    """The spec of the job."""
    return ResolvedPrediction(**dict(asked), model=model(served))


def export(asked: ExportSpec, served: Served) -> ResolvedExport:
    """The spec of the job."""
    return ResolvedExport(**dict(asked), model=model(served))


def make(
    session: Session,
    spec: Resolved,
    dataset: Dataset | None,
    *,
    max_attempts: int,
    owner: str = jobs.DEFAULT_OWNER,
    max_queued: int | None = None,
    idempotency: Idempotency | None = None,
) -> tuple[Job, bool]:
    """Queue the job, which needs `dataset` if it is to predict, or find what the same key made, as `jobs.enqueue`.

    Raises `NotFound` where a snapshot has gone meanwhile.
    """
    members = [snapshots.get(session, member.snapshot_id) for member in spec.model.members]
    for job_id in sorted({member.job_id for member in members}):
        jobs.lock(session, job_id)
    new = NewJob(
        kind=Kind.EXPORT if dataset is None else Kind.PREDICTION,
        name=spec.name,
        spec=spec.model_dump(mode="json"),
        spec_sha256=spec.sha256,
        device=spec.device,
        steps=1,
        labels=spec.labels,
        dataset_id=dataset.id if dataset else None,
        priority=spec.priority,
        max_attempts=spec.max_attempts,
        max_runtime=spec.max_runtime,
    )
    job, created = jobs.enqueue(
        session, new, max_attempts=max_attempts, owner=owner, max_queued=max_queued, idempotency=idempotency
    )
    if created:
        snapshots.use(session, job.id, members)
    return job, created


def exports(session: Session, spec: ResolvedExport, sees: str | None) -> Sequence[Job]:
    """Jobs that have made or are to make the same file, the newest first; `sees` is an owner, None for all."""
    query = select(Job).where(Job.kind == Kind.EXPORT, Job.spec_sha256 == spec.sha256)
    query = query.where(Job.status.not_in((Status.FAILED, Status.CANCELLED)))
    if sees is not None:
        query = query.where(Job.owner == sees)
    return session.scalars(query.order_by(Job.id.desc())).all()
