"""What a worker does with a job that it has claimed: renew, record, finish.

An attempt's number is a fencing token. Every write renews its lease first, in the same transaction, and is
refused with `Fenced` when the attempt is closed: whatever has closed it, another worker may have the job now.

A commit whose answer was lost is made again. Batches are numbered, so that a repeated one is known and changes
nothing; a worker that finds its attempt closed asks `ended` whether it has done that itself.
"""

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from app.store import blobs, checkpoints, datasets, ensembles, events, files, imports, jobs, layers, metrics, snapshots
from app.store.checkpoints import CheckpointRef
from app.store.clock import from_now, now, seconds_between
from app.store.errors import Fenced
from app.store.models import Attempt, Checkpoint, Epoch, Job, Snapshot
from app.store.reports import Changes, Failure
from app.store.snapshots import SnapshotRef
from app.store.states import FailureClass, Kind, Outcome, Status, Wanted


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


def record(session: Session, job_id: str, attempt: int, lease_seconds: float, changes: Changes, batch: int) -> Wanted:
    """Store a batch of reports, counted from 1 within the attempt. Told twice, it is stored once. Raises `Fenced`."""
    wanted = renew(session, job_id, attempt, lease_seconds)
    is_new = (
        update(Attempt)
        .where(Attempt.job_id == job_id, Attempt.number == attempt, Attempt.batch < batch)
        .values(batch=batch)
        .execution_options(synchronize_session=False)
    )
    if session.execute(is_new).rowcount == 0:  # type: ignore[attr-defined]
        return wanted
    job = jobs.lock(session, job_id)
    if changes.phase:
        job.phase = changes.phase
    if changes.progress:
        job.epoch, job.step = changes.progress.epoch, changes.progress.step
        job.steps_per_epoch = changes.progress.steps or job.steps_per_epoch
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
        checkpoints.keep(session, job_id)
    if changes.ensemble:
        ensembles.store(session, job_id, changes.ensemble)
    if changes.measured:
        ensembles.store_measured(session, job_id, changes.measured)
    for file in changes.pack_files:
        datasets.store_file(session, job, file)
    if changes.manifest:
        datasets.store_manifest(session, job, changes.manifest)
    for written in changes.files:
        files.store(session, job_id, written)
    for kind, message, data in changes.events:
        events.append(session, job, kind, message, data)
    job.version += 1
    session.flush()
    return wanted


def ended(session: Session, job_id: str, attempt: int) -> Outcome | None:
    """How the attempt's own worker has ended it; None while it is open. Raises `Fenced` where somebody else has."""
    query = select(Attempt).where(Attempt.job_id == job_id, Attempt.number == attempt)
    found = session.scalars(query, execution_options={"populate_existing": True}).first()
    if found is None or found.outcome is Outcome.LOST:
        raise Fenced(f"Attempt {attempt} at job {job_id} is closed.")
    return found.outcome


def finish(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    is_done: bool = False,
    failure: Failure | None = None,
    why: str | None = None,
) -> Outcome:
    """End an attempt as the user wishes and as it went: everything done, failed, or else stopped. Raises `Fenced`.

    `why` begins the sentence that tells of a stop which the user did not wish.

    A wish to cancel goes before all; one to pause comes too late for a training that is done or has failed.
    """
    _hold(session, job_id, attempt)
    wanted = jobs.lock(session, job_id).wanted
    if wanted is Wanted.CANCEL:
        cancel(session, job_id, attempt)
        return Outcome.CANCELLED
    if is_done:
        succeed(session, job_id, attempt)
        return Outcome.SUCCEEDED
    if failure:
        fail(session, job_id, attempt, failure)
        return _outcome(failure)
    if wanted is Wanted.PAUSE:
        pause(session, job_id, attempt)
    else:
        release(session, job_id, attempt, why)
    return Outcome.RELEASED


def succeed(session: Session, job_id: str, attempt: int) -> None:
    """Everything asked for is stored. Raises `Fenced`."""
    job = _close(session, job_id, attempt, Outcome.SUCCEEDED)
    if job.kind is Kind.SCORING:
        ensembles.release_unchosen(session, job_id)
    elif job.kind is Kind.IMPORT:
        imports.complete(session, job)
    _finish(session, job, Status.SUCCEEDED)
    events.append(session, job, "succeeded", f"The job succeeded after {job.step} steps.")


def cancel(session: Session, job_id: str, attempt: int) -> None:
    """The worker has stopped as the user wished. Raises `Fenced`."""
    job = _close(session, job_id, attempt, Outcome.CANCELLED)
    _finish(session, job, Status.CANCELLED)
    events.append(session, job, "cancelled", f"The job was cancelled at step {job.step}.")


def release(session: Session, job_id: str, attempt: int, why: str | None = None) -> None:
    """Hand the job back, because the worker stops; not counted as a failure. Raises `Fenced`."""
    job = _close(session, job_id, attempt, Outcome.RELEASED)
    jobs.move(job, Status.QUEUED)
    told = f"{why or f'The {job.kind} was stopped'} and handed back; it will go on {_where(session, job_id)}."
    events.append(session, job, "released", told)


def pause(session: Session, job_id: str, attempt: int) -> None:
    """The worker has stopped as the user wished, until the job is resumed; no failure. Raises `Fenced`."""
    job = _close(session, job_id, attempt, Outcome.RELEASED)
    jobs.move(job, Status.PAUSED)
    events.append(session, job, "paused", f"The job was paused. Resumed, it goes on {_where(session, job_id)}.")


def fail(session: Session, job_id: str, attempt: int, failure: Failure) -> Status:
    """End a failed attempt: queued again where that can help, else failed. Raises `Fenced`.

    Only failures of the infrastructure are tried again, up to the job's `max_attempts`, and not a third time
    when the same thing has happened twice at the same step.
    """
    outcome = _outcome(failure)
    job = _close(session, job_id, attempt, outcome, failure=failure)
    if outcome is Outcome.FAILED:
        return _fail(session, job, failure, failure.message)
    if _is_repeated(session, job):
        why = f"{failure.message} It happened twice at step {job.step}, and so it is not tried again."
        return _fail(session, job, failure, why)
    return requeue(session, job, failure)


def seconds_spent(session: Session, job: Job) -> float:
    """How long the attempts that count have run; the job has none that is open."""
    spent = select(func.sum(seconds_between(Attempt.started_at, Attempt.ended_at))).where(*_counted(job))
    return session.scalar(spent) or 0.0


def lose(session: Session, attempt: Attempt, how: str) -> Status:
    """Close an attempt whose worker is gone, which `how` tells; the caller holds its row. The job's new status."""
    job = jobs.lock(session, attempt.job_id)
    attempt.outcome = Outcome.LOST
    attempt.ended_at = now()
    message = f"Worker {attempt.worker_id} {how}."
    return requeue(session, job, Failure(FailureClass.INFRASTRUCTURE, "worker_lost", message))


def reject_checkpoint(session: Session, job_id: str, attempt: int, checkpoint: CheckpointRef) -> Outcome:
    """Go on from an earlier checkpoint, because this one is damaged. Raises `Fenced`."""
    told = f"The checkpoint of step {checkpoint.step} is damaged and was removed."
    return _reject(session, job_id, attempt, checkpoint, told, "checkpoint_damaged")


def reject_snapshot(session: Session, job_id: str, attempt: int, snapshot: SnapshotRef) -> Outcome:
    """Take a damaged snapshot again, from a checkpoint before it or from the start: the same bytes. Raises `Fenced`.

    A training needs the snapshots before its checkpoint, and what was reported is to stay.
    """
    told = f"Snapshot {snapshot.number}, of step {snapshot.step}, is damaged and will be taken again."
    return _reject(session, job_id, attempt, snapshot, told, "snapshot_damaged")


def requeue(session: Session, job: Job, failure: Failure) -> Status:
    """Put a job that the caller holds back into the queue, or end it: as the user wishes, or out of attempts."""
    if job.wanted is Wanted.CANCEL:
        _finish(session, job, Status.CANCELLED)
        events.append(session, job, "cancelled", f"{failure.message} The job was cancelled before it was tried again.")
        return job.status
    used = session.scalar(select(func.count()).where(*_counted(job), Attempt.outcome != Outcome.RELEASED))
    if used is not None and used >= job.max_attempts:
        return _fail(session, job, failure, f"{failure.message} All {job.max_attempts} attempts are used up.")
    data = {"code": failure.code, "attempts_used": used, "max_attempts": job.max_attempts}
    where = _where(session, job.id)
    if job.wanted is Wanted.PAUSE:
        jobs.move(job, Status.PAUSED)
        told = f"{failure.message} The job is paused, as was asked; resumed, it goes on {where}."
        events.append(session, job, "paused", told, data)
    else:
        jobs.move(job, Status.QUEUED)
        events.append(session, job, "requeued", f"{failure.message} The job will go on {where}.", data)
    return job.status


def _hold(session: Session, job_id: str, number: int) -> Attempt:
    """The open attempt, held until the transaction ends. Raises `Fenced`."""
    query = select(Attempt).where(Attempt.job_id == job_id, Attempt.number == number).with_for_update()
    attempt = session.scalars(query, execution_options={"populate_existing": True}).first()
    if attempt is None or attempt.outcome is not None:
        raise Fenced(f"Attempt {number} at job {job_id} is closed.")
    return attempt


def _close(session: Session, job_id: str, number: int, outcome: Outcome, *, failure: Failure | None = None) -> Job:
    """Close an open attempt and hold its job. Raises `Fenced`."""
    attempt = _hold(session, job_id, number)
    job = jobs.lock(session, job_id)
    attempt.outcome = outcome
    attempt.ended_at = now()
    if failure:
        attempt.failure_code = failure.code
        attempt.failure_step = job.step if failure.step is None else failure.step
    session.flush()
    return job


def _reject(
    session: Session, job_id: str, attempt: int, damaged: CheckpointRef | SnapshotRef, told: str, code: str
) -> Outcome:
    """Remove what is damaged and every checkpoint that needs it; the job is queued again, or out of attempts."""
    failure = Failure(FailureClass.INFRASTRUCTURE, code, told, step=damaged.step)
    job = _close(session, job_id, attempt, Outcome.CRASHED, failure=failure)
    session.execute(delete(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.step >= damaged.step))
    session.execute(delete(Snapshot).where(Snapshot.job_id == job_id, Snapshot.sha256 == damaged.sha256))
    blobs.empty(session, damaged.sha256)
    requeue(session, job, failure)
    return Outcome.CRASHED


def _finish(session: Session, job: Job, status: Status) -> None:
    """Make a job final. One that has not succeeded keeps its newest checkpoint, to be tried again from."""
    jobs.move(job, status)
    checkpoints.keep(session, job.id, 0 if status is Status.SUCCEEDED else 1)
    if job.kind is Kind.IMPORT and status is not Status.SUCCEEDED:
        imports.abandon(session, job, for_its_content=job.failure_class is FailureClass.USER)


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
    query = select(Attempt.failure_code, Attempt.failure_step).where(*_counted(job))
    newest = session.execute(query.order_by(Attempt.number.desc()).limit(2)).all()
    return len(newest) == 2 and newest[0] == newest[1]


def _counted(job: Job) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Attempts at the job since the user last had it retried."""
    return Attempt.job_id == job.id, Attempt.number >= job.first_attempt


def _outcome(failure: Failure) -> Outcome:
    return Outcome.CRASHED if failure.failure_class is FailureClass.INFRASTRUCTURE else Outcome.FAILED


def _where(session: Session, job_id: str) -> str:
    checkpoint = checkpoints.newest(session, job_id)
    return f"from step {checkpoint.step}" if checkpoint else "from the start"
