"""What a worker does with a job: claim, renew, record, finish.

An attempt's number is a fencing token. Every write renews its lease first, in the same transaction, and is
refused with `Fenced` when the attempt is closed: whatever has closed it, another worker may have the job now.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.store import checkpoints, datasets, ensembles, events, jobs, layers, metrics, snapshots
from app.store.checkpoints import CheckpointRef
from app.store.clock import from_now, now
from app.store.ensembles import NewEnsemble
from app.store.errors import Fenced
from app.store.models import Attempt, Checkpoint, Dataset, Epoch, Job, Worker
from app.store.snapshots import NewSnapshot
from app.store.states import FailureClass, Outcome, Phase, Status, Wanted
from trainer.events import LayersInspected


@dataclass(frozen=True)
class SnapshotRef:
    """A snapshot that was taken before the checkpoint."""

    number: int
    sha256: str


@dataclass(frozen=True)
class Claim:
    """A job that is now this worker's, and what it goes on from."""

    job_id: str
    attempt: int
    spec: Mapping[str, Any]
    dataset: str
    dataset_sha256: str
    checkpoint: CheckpointRef | None
    snapshots: tuple[SnapshotRef, ...]

    @property
    def spec_json(self) -> str:
        """The spec as a document."""
        return json.dumps(self.spec)


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed: a stable code, a sentence, a hint, and the step it got to, if that is known."""

    failure_class: FailureClass
    code: str
    message: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    hint: str | None = None
    step: int | None = None


@dataclass(frozen=True)
class Progress:
    """How far a training has come: the epoch in hand, steps done, and its speed since the last report."""

    epoch: int
    step: int
    images_per_second: float


@dataclass
class Changes:
    """What a training has reported since the last time, to be stored in one transaction."""

    phase: Phase | None = None
    progress: Progress | None = None
    series: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)
    epochs: list[Mapping[str, Any]] = field(default_factory=list)
    layers: list[LayersInspected] = field(default_factory=list)
    snapshots: list[NewSnapshot] = field(default_factory=list)
    checkpoints: list[CheckpointRef] = field(default_factory=list)
    ensemble: NewEnsemble | None = None
    events: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)


def claim(
    session: Session, *, worker_id: str, devices: Sequence[str], device: str, lease_seconds: float
) -> Claim | None:
    """Take the oldest queued job that asks for one of `devices`, or None where there is none.

    The same transaction removes what an earlier attempt reported after its last checkpoint: it will come again.
    """
    query = select(Job).where(Job.status == Status.QUEUED, Job.device.in_(devices))
    query = query.order_by(Job.id).limit(1).with_for_update(skip_locked=True)
    job = session.scalars(query, execution_options={"populate_existing": True}).first()
    if job is None:
        return None
    checkpoint = checkpoints.newest(session, job.id)
    step = checkpoint.step if checkpoint else 0
    checkpoints.rewind(session, job, checkpoint)
    job.attempt += 1
    jobs.move(job, Status.RUNNING)
    session.add(
        Attempt(
            job_id=job.id,
            number=job.attempt,
            worker_id=worker_id,
            device=device,
            first_step=step + 1,
            lease_expires_at=from_now(lease_seconds),
        )
    )
    _tell_start(session, job, worker_id, device, step)
    session.flush()
    dataset = session.get_one(Dataset, job.dataset_id)
    taken = snapshots.of_job(session, job.id)
    return Claim(
        job_id=job.id,
        attempt=job.attempt,
        spec=job.spec,
        dataset=dataset.name,
        dataset_sha256=datasets.facts(dataset).sha256,
        checkpoint=checkpoint,
        snapshots=tuple(SnapshotRef(snapshot.number, snapshot.sha256) for snapshot in taken),
    )


def renew(session: Session, job_id: str, attempt: int, lease_seconds: float) -> Wanted:
    """Keep the job for `lease_seconds` more; what the user wants of it. Raises `Fenced`."""
    renewed = session.execute(
        update(Attempt)
        .where(Attempt.job_id == job_id, Attempt.number == attempt, Attempt.outcome.is_(None))
        .values(lease_expires_at=from_now(lease_seconds))
        .execution_options(synchronize_session=False)
    )
    if renewed.rowcount == 0:  # type: ignore[attr-defined]
        raise Fenced(f"Attempt {attempt} at job {job_id} is closed.")
    return session.scalars(select(Job.wanted).where(Job.id == job_id)).one()


def record(session: Session, job_id: str, attempt: int, lease_seconds: float, changes: Changes) -> Wanted:
    """Store what a training has reported. Told twice, it is stored once. Raises `Fenced`."""
    wanted = renew(session, job_id, attempt, lease_seconds)
    job = jobs.lock(session, job_id)
    if changes.phase:
        job.phase = changes.phase
    if changes.progress:
        job.epoch, job.step = changes.progress.epoch, changes.progress.step
        job.images_per_second = changes.progress.images_per_second
    for name, (steps, values) in changes.series.items():
        metrics.append(session, job_id, name, steps, values)
    for epoch in changes.epochs:
        session.merge(Epoch(job_id=job_id, **epoch))
    for inspected in changes.layers:
        layers.store(session, job_id, inspected)
    for snapshot in changes.snapshots:
        snapshots.store(session, job_id, snapshot)
    for checkpoint in changes.checkpoints:
        session.merge(Checkpoint(job_id=job_id, **vars(checkpoint)))
    if changes.checkpoints:
        checkpoints.drop_old(session, job_id)
    if changes.ensemble:
        ensembles.store(session, job_id, changes.ensemble)
    for kind, message, data in changes.events:
        events.append(session, job, kind, message, data)
    job.version += 1
    session.flush()
    return wanted


def succeed(session: Session, job_id: str, attempt: int) -> None:
    """Everything asked for is stored. Raises `Fenced`."""
    job = _close(session, job_id, attempt, Outcome.SUCCEEDED)
    _finish(session, job, Status.SUCCEEDED)
    events.append(session, job, "succeeded", f"The job succeeded after {job.step} steps.")


def cancel(session: Session, job_id: str, attempt: int) -> None:
    """The worker has stopped as the user wished. Raises `Fenced`."""
    job = _close(session, job_id, attempt, Outcome.CANCELLED)
    _finish(session, job, Status.CANCELLED)
    events.append(session, job, "cancelled", f"The job was cancelled at step {job.step}.")


def release(session: Session, job_id: str, attempt: int) -> None:
    """Hand the job back, because the worker stops; not counted as a failure. Raises `Fenced`."""
    job = _close(session, job_id, attempt, Outcome.RELEASED)
    checkpoint = checkpoints.newest(session, job_id)
    where = f"step {checkpoint.step}" if checkpoint else "the start"
    jobs.move(job, Status.QUEUED)
    events.append(session, job, "released", f"The worker stopped; the job goes on from {where} elsewhere.")


def fail(session: Session, job_id: str, attempt: int, failure: Failure) -> Status:
    """End a failed attempt: queued again where that can help, else failed. Raises `Fenced`.

    Only failures of the infrastructure are tried again, up to the job's `max_attempts`, and not a third time
    when the same thing has happened twice at the same step.
    """
    retried = failure.failure_class is FailureClass.INFRASTRUCTURE
    job = _close(session, job_id, attempt, Outcome.CRASHED if retried else Outcome.FAILED, failure=failure)
    if not retried:
        return _fail(session, job, failure, failure.message)
    if _is_repeated(session, job):
        why = f"{failure.message} It happened twice at step {job.step}, and so it is not tried again."
        return _fail(session, job, failure, why)
    return requeue(session, job, failure)


def lose(session: Session, attempt: Attempt) -> Status:
    """Close an attempt whose lease has run out; the caller holds its row. The job's new status."""
    job = jobs.lock(session, attempt.job_id)
    attempt.outcome = Outcome.LOST
    attempt.ended_at = now()
    message = f"Worker {attempt.worker_id} stopped renewing its lease."
    return requeue(session, job, Failure(FailureClass.INFRASTRUCTURE, "worker_lost", message))


def reject_checkpoint(session: Session, job_id: str, attempt: int, step: int) -> None:
    """Go on from an earlier checkpoint, because the one of `step` is damaged. Raises `Fenced`."""
    session.execute(delete(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.step == step))
    failure = Failure(
        FailureClass.INFRASTRUCTURE,
        "checkpoint_damaged",
        f"The checkpoint of step {step} is damaged and was removed.",
        step=step,
    )
    job = _close(session, job_id, attempt, Outcome.CRASHED, failure=failure)
    requeue(session, job, failure)


def requeue(session: Session, job: Job, failure: Failure) -> Status:
    """Put a job that the caller holds back into the queue, or end it: as the user wishes, or out of attempts."""
    if job.wanted is Wanted.CANCEL:
        _finish(session, job, Status.CANCELLED)
        events.append(session, job, "cancelled", f"{failure.message} The job was cancelled before it was tried again.")
        return job.status
    used = session.scalar(select(func.count()).where(Attempt.job_id == job.id, Attempt.outcome != Outcome.RELEASED))
    if used is not None and used >= job.max_attempts:
        return _fail(session, job, failure, f"{failure.message} All {job.max_attempts} attempts are used up.")
    checkpoint = checkpoints.newest(session, job.id)
    where = f"from step {checkpoint.step}" if checkpoint else "from the start"
    jobs.move(job, Status.QUEUED)
    data = {"code": failure.code, "attempts_used": used, "max_attempts": job.max_attempts}
    events.append(session, job, "requeued", f"{failure.message} The job will go on {where}.", data)
    return job.status


def _close(session: Session, job_id: str, number: int, outcome: Outcome, *, failure: Failure | None = None) -> Job:
    """Close an open attempt and hold its job. Raises `Fenced`."""
    query = select(Attempt).where(Attempt.job_id == job_id, Attempt.number == number).with_for_update()
    attempt = session.scalars(query, execution_options={"populate_existing": True}).first()
    if attempt is None or attempt.outcome is not None:
        raise Fenced(f"Attempt {number} at job {job_id} is closed.")
    job = jobs.lock(session, job_id)
    attempt.outcome = outcome
    attempt.ended_at = now()
    if failure:
        attempt.failure_code = failure.code
        attempt.failure_step = job.step if failure.step is None else failure.step
    session.flush()
    return job


def _finish(session: Session, job: Job, status: Status) -> None:
    """Make a job final. What it could have gone on from is not needed any more."""
    jobs.move(job, status)
    session.execute(delete(Checkpoint).where(Checkpoint.job_id == job.id))


def _fail(session: Session, job: Job, failure: Failure, message: str) -> Status:
    job.failure_class = failure.failure_class
    job.failure_code = failure.code
    job.failure_message = message
    job.failure_detail = {**failure.detail, "step": job.step if failure.step is None else failure.step}
    job.failure_hint = failure.hint
    _finish(session, job, Status.FAILED)
    events.append(session, job, "failed", message, {"class": failure.failure_class, "code": failure.code})
    return job.status


def _is_repeated(session: Session, job: Job) -> bool:
    """Whether the last two attempts ended with the same failure at the same step."""
    query = select(Attempt.failure_code, Attempt.failure_step).where(Attempt.job_id == job.id)
    newest = session.execute(query.order_by(Attempt.number.desc()).limit(2)).all()
    return len(newest) == 2 and newest[0] == newest[1]


def _tell_start(session: Session, job: Job, worker_id: str, device: str, step: int) -> None:
    worker = session.get(Worker, worker_id)
    host = worker.host if worker else None
    data = {"worker": worker_id, "host": host, "device": device, "step": step}
    if job.attempt == 1:
        events.append(session, job, "started", f"Worker {worker_id} started the job.", data)
    else:
        where = f"from step {step}" if step else "from the start"
        message = f"Worker {worker_id} took the job up again {where} (attempt {job.attempt})."
        events.append(session, job, "resumed", message, data)
