"""How many there are of what, for monitoring: few queries, each by an index."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.store import workers
from app.store.clock import now
from app.store.models import Attempt, Event, Job, Worker
from app.store.states import Kind, Status


@dataclass(frozen=True)
class Queue:
    """Jobs that wait for one kind of device, and for how many seconds the first of them has."""

    jobs: int
    oldest_seconds: float


@dataclass(frozen=True)
class Crew:
    """Workers of one kind of device: alive, silent, and seconds since any of them was heard of."""

    alive: int
    silent: int
    newest_heartbeat_seconds: float


@dataclass(frozen=True)
class Census:
    """Everything at one moment.

    What a spec may say for `device` is the key of `queues`, a kind of device that of `crews`.
    """

    jobs: Mapping[tuple[Kind, Status], int]
    queues: Mapping[str, Queue]
    crews: Mapping[str, Crew]
    images_per_second: float


def take(session: Session) -> Census:
    """Count everything."""
    return Census(_jobs(session), _queues(session), _crews(session), images_per_second(session))


def waiting(session: Session) -> Mapping[str, int]:
    """How many jobs wait, by what their specs say for `device`."""
    counts = select(Job.device, func.count()).where(Job.status == Status.QUEUED).group_by(Job.device)
    return {device: count for device, count in session.execute(counts)}


def images_per_second(session: Session, worker_id: str | None = None) -> float:
    """What all running jobs, or those of one worker, train a second together."""
    query = select(func.sum(Job.images_per_second)).where(Job.status == Status.RUNNING)
    if worker_id is not None:
        query = query.join(Attempt).where(Attempt.outcome.is_(None), Attempt.worker_id == worker_id)
    return session.scalar(query) or 0.0


def _jobs(session: Session) -> Mapping[tuple[Kind, Status], int]:
    counts = session.execute(select(Job.kind, Job.status, func.count()).group_by(Job.kind, Job.status))
    return dict.fromkeys(product(Kind, Status), 0) | {(kind, status): count for kind, status, count in counts}


def _queues(session: Session) -> Mapping[str, Queue]:
    """A queued job's newest event is the one that put it into the queue."""
    entered = select(Job.device, func.count(), func.min(Event.created_at), now())
    entered = entered.join(Event, (Event.job_id == Job.id) & (Event.number == Job.event_count))
    rows = session.execute(entered.where(Job.status == Status.QUEUED).group_by(Job.device))
    return {device: Queue(count, (moment - since).total_seconds()) for device, count, since, moment in rows}


def _crews(session: Session) -> Mapping[str, Crew]:
    alive = func.count().filter(workers.is_alive())
    rows = session.execute(
        select(Worker.device, func.count(), alive, func.max(Worker.heartbeat_at), now()).group_by(Worker.device)
    )
    return {
        device: Crew(living, count - living, (moment - newest).total_seconds())
        for device, count, living, newest, moment in rows
    }
