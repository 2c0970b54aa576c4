"""Rows as answers."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from sqlalchemy.orm import Session

from app.api.schemas import (
    CombinedScoresView,
    DatasetDetailView,
    DatasetLinksView,
    DatasetView,
    DistributionView,
    EnsembleLinksView,
    EnsembleView,
    EpochView,
    ErrorView,
    EventView,
    FileView,
    JobSummaryView,
    JobView,
    KeyView,
    LayerStatisticsView,
    LayerView,
    LinksView,
    MemberView,
    MemoryUseView,
    MemoryView,
    OfferView,
    PlaceView,
    PlanView,
    PointView,
    ProblemView,
    ProgressView,
    RunningView,
    ScoresView,
    SnapshotView,
    UploadView,
    VoteScoresView,
    WarningView,
    WorkerView,
)
from app.store import datasets, ensembles, jobs, metrics, turns, uploads
from app.store.ensembles import Member
from app.store.models import ApiKey, Dataset, Ensemble, Epoch, Event, Job, JobFile, LayerStats, Snapshot, Upload, Worker
from app.store.states import FailureClass, Kind, Phase
from app.store.workers import Running
from trainer.document import Document
from trainer.plan import Plan
from trainer.report import Report
from trainer.schedule import warmup_epochs


def job_view(session: Session, job: Job) -> JobView:
    """A job as it is now."""
    return job_views(session, [job])[0]


def job_views(session: Session, found: Sequence[Job]) -> list[JobView]:
    """Jobs as they are now."""
    newest = metrics.latest(session, [job.id for job in found])
    positions = turns.positions(session, found)
    return [_job(job, newest.get(job.id), positions.get(job.id)) for job in found]


def job_summaries(session: Session, found: Sequence[Job]) -> list[JobSummaryView]:
    """Jobs as lines of a list."""
    accuracies = metrics.validation_accuracies(session, [job.id for job in found])
    positions = turns.positions(session, found)
    return [_summary(job, accuracies.get(job.id, []), positions.get(job.id)) for job in found]


def epoch_view(epoch: Epoch) -> EpochView:
    """An epoch's row."""
    return EpochView.model_validate(epoch, from_attributes=True)


def event_view(event: Event) -> EventView:
    """An event."""
    return EventView.model_validate(event, from_attributes=True)


def layer_statistics_view(row: LayerStats) -> LayerStatisticsView:
    """What stood in a layer."""
    return LayerStatisticsView(
        epoch=row.epoch,
        step=row.step,
        index=row.index,
        name=row.name,
        kind=row.kind,
        activations=DistributionView(
            mean=row.activation_mean, std=row.activation_std, histogram=row.activation_histogram
        ),
        gradients=DistributionView(mean=row.gradient_mean, std=row.gradient_std, histogram=row.gradient_histogram),
        dead=row.dead,
        saturated=row.saturated,
        symmetric=row.symmetric,
        weight_norm=row.weight_norm,
        weight_gradient_norm=row.weight_gradient_norm,
        update_ratio=row.update_ratio,
    )


def snapshot_view(snapshot: Snapshot, size: int) -> SnapshotView:
    """A snapshot, with the size of its file in bytes."""
    return SnapshotView(
        id=snapshot.id,
        job_id=snapshot.job_id,
        number=snapshot.number,
        epoch=snapshot.epoch,
        step=snapshot.step,
        sha256=snapshot.sha256,
        size=size,
        scores=_scores(snapshot),
        provenance=snapshot.provenance,
        created_at=snapshot.created_at,
        weights=f"/v1/snapshots/{snapshot.id}/weights",
    )


def file_view(file: JobFile) -> FileView:
    """A file of a job."""
    return FileView(
        name=file.name,
        media_type=file.media_type,
        size=file.size,
        sha256=file.sha256,
        url=f"/v1/jobs/{file.job_id}/files/{file.name}",
    )


def ensemble_view(session: Session, ensemble: Ensemble) -> EnsembleView:
    """An ensemble with its members and its report."""
    (view,) = ensemble_views(session, [ensemble])
    report = Report.model_validate(ensemble.report) if ensemble.report else None
    return view.model_copy(update={"report": report})


def ensemble_views(session: Session, found: Sequence[Ensemble]) -> list[EnsembleView]:
    """Ensembles with their members, without reports."""
    members = ensembles.members_of(session, [ensemble.id for ensemble in found])
    by_id = jobs.several(session, [ensemble.job_id for ensemble in found])
    return [_ensemble(by_id[one.job_id], one, members[one.id]) for one in found]


def _ensemble(job: Job, ensemble: Ensemble, members: Sequence[Member]) -> EnsembleView:
    return EnsembleView(
        id=ensemble.id,
        job_id=ensemble.job_id,
        name=job.name,
        owner=job.owner,
        status=job.status,
        kind=ensemble.kind,
        spec=job.spec if job.kind is Kind.SCORING else None,
        averaged=ensemble.averaged,
        scores=combined_scores(ensemble),
        single=_single(ensemble),
        geometric_mean=_geometric_mean(ensemble),
        majority_vote=_majority_vote(ensemble),
        members=[_member(member) for member in members],
        report=None,
        created_at=ensemble.created_at,
        links=EnsembleLinksView(self_=f"/v1/ensembles/{ensemble.id}", job=f"/v1/jobs/{ensemble.job_id}"),
    )


def _member(member: Member) -> MemberView:
    return MemberView(
        snapshot_id=member.snapshot.id,
        job_id=member.snapshot.job_id,
        number=member.snapshot.number,
        epoch=member.snapshot.epoch,
        weight=member.weight,
        scores=_scores(member.snapshot),
    )


def combined_scores(ensemble: Ensemble) -> CombinedScoresView | None:
    """What an ensemble scores, once it is scored."""
    if ensemble.accuracy is None:
        return None
    return CombinedScoresView(
        accuracy=ensemble.accuracy,
        error=ensemble.error,
        negative_log_likelihood=ensemble.negative_log_likelihood,
    )


def _single(ensemble: Ensemble) -> ScoresView | None:
    if ensemble.single_accuracy is None:
        return None
    return ScoresView(
        accuracy=ensemble.single_accuracy,
        error=ensemble.single_error,
        negative_log_likelihood=ensemble.single_negative_log_likelihood,
    )


def _geometric_mean(ensemble: Ensemble) -> ScoresView | None:
    if ensemble.geometric_mean_accuracy is None:
        return None
    return ScoresView(
        accuracy=ensemble.geometric_mean_accuracy,
        error=ensemble.geometric_mean_error,
        negative_log_likelihood=ensemble.geometric_mean_negative_log_likelihood,
    )


def _majority_vote(ensemble: Ensemble) -> VoteScoresView | None:
    if ensemble.majority_vote_accuracy is None:
        return None
    return VoteScoresView(accuracy=ensemble.majority_vote_accuracy, error=ensemble.majority_vote_error)


def dataset_views(session: Session, found: Sequence[Dataset]) -> list[DatasetView]:
    """Data sets, with their imports."""
    imports = datasets.imports(session, [dataset.id for dataset in found])
    return [DatasetView(**_dataset(dataset, imports.get(dataset.id))) for dataset in found]


def dataset_detail_view(session: Session, dataset: Dataset) -> DatasetDetailView:
    """A data set with all that is known of it."""
    job = datasets.imports(session, [dataset.id]).get(dataset.id)
    manifest = datasets.manifest(dataset)
    known = manifest.model_dump(mode="json") if manifest else {}
    names = ("splits", "mean", "std", "origin")
    detail = {name: known.get(name) for name in names} | {"warnings": known.get("warnings", [])}
    return DatasetDetailView(**_dataset(dataset, job), **detail)


def _dataset(dataset: Dataset, job: Job | None) -> dict[str, Any]:
    is_ready = dataset.ready_at is not None
    has_failed = not is_ready and (job is None or job.status.is_final)
    facts = datasets.facts(dataset) if is_ready else None
    here = f"/v1/datasets/{dataset.name}"
    return {
        "id": datasets.content_id(facts.sha256) if facts else None,
        "name": dataset.name,
        "owner": dataset.owner,
        "status": "ready" if is_ready else "failed" if has_failed else "importing",
        "sha256": facts.sha256 if facts else None,
        "shape": facts.shape if facts else None,
        "classes": list(facts.classes) if facts else [],
        "train_count": facts.train_count if facts else None,
        "validation_count": facts.validation_count if facts else None,
        "size": dataset.size,
        "error": _import_problem(job, here) if has_failed and job else None,
        "created_at": dataset.created_at,
        "ready_at": dataset.ready_at,
        "links": DatasetLinksView(
            self_=here,
            sample=f"{here}/sample.png" if is_ready else None,
            job=f"/v1/jobs/{job.id}" if job else None,
        ),
    }


def _import_problem(job: Job, instance: str) -> ProblemView:
    """Why an import has ended without a data set, as the problem that the request would have got had it waited."""
    findings = (job.failure_detail or {}).get("findings", [])
    is_theirs = job.failure_class is FailureClass.USER
    status = HTTPStatus.UNPROCESSABLE_ENTITY if is_theirs else HTTPStatus.INTERNAL_SERVER_ERROR
    return ProblemView(
        type=f"urn:annealer:problem:{(job.failure_code or str(job.status)).replace('_', '-')}",
        title=status.phrase,
        status=status,
        detail=job.failure_message or f"The import was {job.status}.",
        instance=instance,
        request_id=None,
        errors=[PlaceView(**finding) for finding in findings],
    )


def upload_view(session: Session, upload: Upload) -> UploadView:
    """An upload, with what has arrived."""
    return UploadView(
        id=upload.id,
        name=upload.name,
        owner=upload.owner,
        size=upload.size,
        sha256=upload.sha256,
        part_bytes=upload.part_bytes,
        parts=uploads.part_count(upload),
        missing=uploads.missing(session, upload),
        received=sum(part.size for part in uploads.parts(session, upload.id)),
        created_at=upload.created_at,
        used_at=upload.used_at,
    )


def worker_view(worker: Worker, alive: bool, running: Sequence[Running], sees: str | None) -> WorkerView:
    """A worker and what it runs; `sees` is the owner whose jobs are told of, None for all."""
    return WorkerView(
        id=worker.id,
        host=worker.host,
        pid=worker.pid,
        device=worker.device,
        slots=worker.slots,
        version=worker.version,
        offers={kind: OfferView.model_validate(offer) for kind, offer in worker.offers.items()},
        alive=alive,
        drained=worker.is_drained,
        memory={device: MemoryUseView(used=used, total=total) for device, (used, total) in worker.memory.items()},
        running=len(running),
        jobs=[_running(one) for one in running if sees in (None, one.job.owner)],
        started_at=worker.started_at,
        heartbeat_at=worker.heartbeat_at,
    )


def key_view(key: ApiKey) -> KeyView:
    """A key, without what opens anything."""
    return KeyView.model_validate(key, from_attributes=True)


def plan_view(plan: Plan, document: Document | None = None) -> PlanView:
    """What a spec would do, with the lines of its warnings where its text is known."""
    return PlanView(
        spec=plan.spec.model_dump(mode="json"),
        layers=[LayerView.model_validate(asdict(row)) for row in plan.layers],
        parameters=plan.parameters,
        multiply_adds=plan.multiply_adds,
        step_multiply_adds=plan.step_multiply_adds,
        activations=plan.activations,
        memory_bytes=MemoryView.model_validate(asdict(plan.memory)),
        steps_per_epoch=plan.steps_per_epoch,
        steps=plan.steps,
        learning_rates=list(plan.learning_rates),
        curve=[PointView.model_validate(asdict(point)) for point in plan.curve],
        warmup_epochs=warmup_epochs(plan.spec.schedule),
        snapshot_epochs=list(plan.snapshot_epochs),
        warnings=[
            WarningView(**asdict(warning), line=document.line(warning.pointer) if document else None)
            for warning in plan.warnings
        ],
    )


def _running(one: Running) -> RunningView:
    return RunningView(
        job_id=one.job.id,
        name=one.job.name,
        attempt=one.attempt.number,
        phase=one.job.phase,
        fraction=_progress(one.job).fraction,
        started_at=one.attempt.started_at,
    )


def _summary(job: Job, accuracies: list[float], position: int | None) -> JobSummaryView:
    return JobSummaryView(
        id=job.id,
        kind=job.kind,
        name=job.name,
        labels=job.labels,
        dataset=job.spec.get("dataset"),
        owner=job.owner,
        priority=job.priority,
        status=job.status,
        phase=job.phase,
        wanted=job.wanted,
        version=job.version,
        progress=_progress(job),
        validation_accuracy=accuracies[-1] if accuracies else None,
        validation_accuracies=accuracies,
        queue_position=position,
        error=_error(job),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _job(job: Job, newest: Epoch | None, position: int | None) -> JobView:
    here = f"/v1/jobs/{job.id}"
    return JobView(
        id=job.id,
        kind=job.kind,
        name=job.name,
        labels=job.labels,
        dataset=job.spec.get("dataset"),
        owner=job.owner,
        priority=job.priority,
        spec=job.spec,
        spec_sha256=job.spec_sha256,
        status=job.status,
        phase=job.phase,
        wanted=job.wanted,
        version=job.version,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        max_runtime=job.max_runtime,
        progress=_progress(job),
        latest=epoch_view(newest) if newest else None,
        queue_position=position,
        error=_error(job),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        links=LinksView(
            self_=here,
            events=f"{here}/events",
            logs=f"{here}/logs",
            metrics=f"{here}/metrics",
            layers=f"{here}/layers",
            snapshots=f"{here}/snapshots",
            ensemble=f"{here}/ensemble",
            files=f"{here}/files",
        ),
    )


def _progress(job: Job) -> ProgressView:
    steps = job.epochs * job.steps_per_epoch
    expected_end = None
    if job.phase is Phase.TRAINING and job.images_per_second:
        images = (steps - job.step) * job.spec["batch_size"]
        expected_end = datetime.now(UTC) + timedelta(seconds=images / job.images_per_second)
    return ProgressView(
        epoch=job.epoch,
        epochs=job.epochs,
        step=job.step,
        steps=steps,
        fraction=job.step / steps,
        images_per_second=job.images_per_second,
        expected_end=expected_end,
    )


def _error(job: Job) -> ErrorView | None:
    if job.failure_class is None:
        return None
    return ErrorView(
        failure_class=job.failure_class,
        code=job.failure_code or "",
        message=job.failure_message or "",
        detail=job.failure_detail or {},
        hint=job.failure_hint,
    )


def _scores(row: Snapshot) -> ScoresView:
    return ScoresView(accuracy=row.accuracy, error=row.error, negative_log_likelihood=row.negative_log_likelihood)
