"""Worker processes that have been seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from app.store.clock import ago, now
from app.store.errors import NotFound
from app.store.models import Attempt, Job, Worker
from trainer.offer import Offer

ALIVE_SECONDS = 15.0
FORGOTTEN_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Running:
    """A job that is running, and the attempt at it."""

    job: Job
    attempt: Attempt


def beat(
    session: Session,
    *,
    id: str,
    host: str,
    pid: int,
    device: str,
    slots: int,
    version: str,
    offers: Mapping[str, Offer],
    memory: Mapping[str, tuple[int, int]] | None = None,
) -> bool:
    """Say that a worker lives, and what memory is used; whether it is to be drained.

    Rows of those not seen for a day are removed.
    """
    has = {device: list(bytes) for device, bytes in (memory or {}).items()}
    known = update(Worker).where(Worker.id == id).values(heartbeat_at=now(), memory=has)
    is_drained = session.scalar(known.returning(Worker.is_drained))
    if is_drained is None:
        session.add(
            Worker(
                id=id,
                host=host,
                pid=pid,
                device=device,
                slots=slots,
                version=version,
                offers={kind: offer.document() for kind, offer in offers.items()},
                memory=has,
            )
        )
    session.execute(delete(Worker).where(Worker.heartbeat_at < ago(FORGOTTEN_SECONDS)))
    return bool(is_drained)


def drain(session: Session, id: str, *, is_drained: bool) -> Worker:
    """Let a worker take no job from now on, and hand back those that it runs; or take jobs again. Raises `NotFound`.

    It holds as long as the process: one that is started in its place takes jobs.
    """
    worker = session.get(Worker, id)
    if worker is None:
        raise NotFound("worker", id)
    worker.is_drained = is_drained
    session.flush()
    return worker


def forget(session: Session, id: str) -> None:
    """Remove a worker that has said goodbye."""
    session.execute(delete(Worker).where(Worker.id == id))


def all_of_them(session: Session) -> Sequence[tuple[Worker, bool]]:
    """Every worker that has been seen lately, the oldest first, and whether it is alive."""
    rows = session.execute(select(Worker, is_alive()).order_by(Worker.id))
    return [(worker, bool(alive)) for worker, alive in rows]


def running(session: Session) -> Mapping[str, Sequence[Running]]:
    """What each worker runs, by its id, the oldest first."""
    query = select(Attempt, Job).join(Job, Job.id == Attempt.job_id).where(Attempt.outcome.is_(None))
    found: dict[str, list[Running]] = {}
    for attempt, job in session.execute(query.order_by(Attempt.job_id)):
        found.setdefault(attempt.worker_id, []).append(Running(job, attempt))
    return found


def offer(session: Session, device: str) -> Offer | None:
    """What a spec that says `device` can have of the live workers, each thing from one of them; None without any."""
    found = session.scalars(select(Worker).where(is_alive()))
    offers = [Offer.of(worker.offers[device]) for worker in found if device in worker.offers]
    return reduce(or_, offers) if offers else None


def is_alive() -> ColumnElement[bool]:
    """Whether a worker's heartbeat is fresh."""
    return Worker.heartbeat_at > ago(ALIVE_SECONDS)
