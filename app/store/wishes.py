"""What a user asks of a job: cancel, pause, resume, retry, another priority.

Each is decided with the job's row held, and so of two that race one comes first and the other finds what it left.
Asked again, a wish that is fulfilled or being fulfilled changes nothing. Raises `NotFound`, `MoveRefused` where a
job's state does not allow it, and `InUse` where ensembles are made of what a retry would take again. `who` asks, as the
events tell it.
"""

from typing import Literal

from sqlalchemy.orm import Session

from app.store import checkpoints, datasets, events, imports, jobs, snapshots
from app.store.errors import MoveRefused
from app.store.models import Job
from app.store.states import ACTIONS, Action, Kind, Status, Wanted, check_move

From = Literal["checkpoint", "start"]

SOMEBODY = "The user"


def cancel(session: Session, job_id: str, who: str = SOMEBODY) -> Job:
    """End a job: at once unless it runs, else as soon as its worker sees the wish. Its newest checkpoint is kept."""
    job = jobs.lock(session, job_id)
    if job.status is Status.CANCELLED or job.wanted is Wanted.CANCEL:
        return job
    check_move(job.id, job.status, Status.CANCELLED)
    job.wanted = Wanted.CANCEL
    if job.status is Status.RUNNING:
        events.append(session, job, "cancel_requested", f"{who} asked to cancel the job.")
    else:
        told = "while it was paused" if job.status is Status.PAUSED else "while it was queued"
        jobs.move(job, Status.CANCELLED)
        checkpoints.keep(session, job.id, 1)
        if job.kind is Kind.IMPORT:
            imports.abandon(session, job)
        events.append(session, job, "cancelled", f"The job was cancelled {told}.")
    return _stored(session, job)


def pause(session: Session, job_id: str, who: str = SOMEBODY) -> Job:
    """Stop a job until it is resumed: at once while it is queued, else once its worker has a checkpoint."""
    job = jobs.lock(session, job_id)
    if job.status is Status.PAUSED or (job.status is Status.RUNNING and job.wanted is Wanted.PAUSE):
        return job
    _refuse_while_cancelled(job, Status.PAUSED)
    check_move(job.id, job.status, Status.PAUSED)
    job.wanted = Wanted.PAUSE
    if job.status is Status.RUNNING:
        events.append(session, job, "pause_requested", f"{who} asked to pause the job.")
    else:
        jobs.move(job, Status.PAUSED)
        events.append(session, job, "paused", "The job was paused while it was queued.")
    return _stored(session, job)


def resume(session: Session, job_id: str, who: str = SOMEBODY) -> Job:
    """Queue a paused job again; one that is still being paused is stopped first, then goes on."""
    job = jobs.lock(session, job_id)
    _refuse_while_cancelled(job, Status.QUEUED)
    if job.status in (Status.QUEUED, Status.RUNNING) and job.wanted is Wanted.RUN:
        return job
    if job.status.is_final:
        raise MoveRefused(job.id, job.status, "resumed", ACTIONS[job.status])
    job.wanted = Wanted.RUN
    if job.status is Status.PAUSED:
        jobs.move(job, Status.QUEUED)
    events.append(session, job, "resume_requested", f"{who} resumed the job; it goes on {_where(session, job)}.")
    return _stored(session, job)


def retry(session: Session, job_id: str, start: From, who: str = SOMEBODY) -> Job:
    """Queue a failed or cancelled job again, from its last checkpoint or from the start.

    What it reported after that is removed: it will come again. Its attempts and its running time count anew. A job
    that was retried so and has not ended since is left as it is.
    """
    job = jobs.lock(session, job_id)
    if not job.status.is_final and job.first_attempt > 1 and job.wanted is not Wanted.CANCEL:
        _refuse_another(session, job, start)
        return job
    if Action.RETRY not in ACTIONS[job.status]:
        raise MoveRefused(job.id, job.status, "retried", ACTIONS[job.status])
    if job.kind is Kind.IMPORT and datasets.is_superseded(session, job):
        raise MoveRefused(job.id, job.status, "retried", (Action.DELETE,), "Its data set's name is not its any more.")
    # Snapshots after the checkpoint would be taken again, as others.
    snapshots.refuse_use(session, job.id, "retried")
    if start == "start":
        checkpoints.keep(session, job.id, 0)
    checkpoints.rewind(session, job, checkpoints.newest(session, job.id))
    job.wanted = Wanted.RUN
    job.first_attempt = job.attempt + 1
    job.failure_class = job.failure_code = job.failure_message = job.failure_detail = job.failure_hint = None
    jobs.move(job, Status.QUEUED)
    events.append(session, job, "retried", f"{who} had the job tried again {_where(session, job)}.", {"from": start})
    return _stored(session, job)


def prioritize(session: Session, job_id: str, priority: int, who: str = SOMEBODY) -> Job:
    """Give a job another priority than its spec asked for; that of a running one counts should it be queued again."""
    job = jobs.lock(session, job_id)
    if job.priority == priority:
        return job
    if job.status.is_final:
        raise MoveRefused(job.id, job.status, "prioritized", ACTIONS[job.status])
    told = f"{who} changed the priority from {job.priority} to {priority}."
    events.append(session, job, "prioritized", told, {"from": job.priority, "to": priority})
    job.priority = priority
    return _stored(session, job)


def _refuse_while_cancelled(job: Job, after: Status) -> None:
    if job.status is Status.RUNNING and job.wanted is Wanted.CANCEL:
        raise MoveRefused(job.id, job.status, after, (), "It is being cancelled.")


def _refuse_another(session: Session, job: Job, start: From) -> None:
    """Of a job that is being retried, a retry from elsewhere."""
    under_way = events.last(session, job.id, "retried")
    if under_way and under_way.data["from"] != start:
        because = f"It is being retried already, from: {under_way.data['from']}."
        raise MoveRefused(job.id, job.status, f"retried from: {start}", ACTIONS[job.status], because)


def _where(session: Session, job: Job) -> str:
    checkpoint = checkpoints.newest(session, job.id)
    return f"from step {checkpoint.step}" if checkpoint else "from the start"


def _stored(session: Session, job: Job) -> Job:
    session.flush()
    session.refresh(job)
    return job
