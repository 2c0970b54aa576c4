"""Whose turn it is: the highest priority, then the owner who has used least lately, then age.

An owner's use is the seconds of all attempts at its jobs that still run or ended within the last day. An attempt
that has just begun counts at once, and so owners who wait take turns.
"""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import ColumnElement, and_, func, literal_column, or_, select
from sqlalchemy.orm import Session

from app.store.clock import ago, now, seconds_between
from app.store.models import Attempt, Job
from app.store.states import Status
from trainer.offer import Offer

LATELY_SECONDS = 24 * 3600.0


def take(session: Session, offers: Mapping[str, Offer]) -> Job | None:
    """The queued job whose turn it is of those that ask for what `offers` has for their `device`.

    It is held until the transaction ends. Jobs that other transactions hold are passed over.
    """
    queued = and_(_is_queued(session), fits(offers))
    priority = _highest(session, queued)
    while priority is not None:
        alike = and_(queued, Job.priority == priority)
        oldest = _oldest(session, alike)
        use = _use(session, oldest) if len(oldest) > 1 else {}
        for owner in sorted(oldest, key=lambda owner: (use.get(owner, 0.0), oldest[owner])):
            query = select(Job).where(alike, Job.owner == owner).order_by(Job.id).limit(1)
            query = query.with_for_update(skip_locked=True)
            if job := session.scalars(query, execution_options={"populate_existing": True}).first():
                return job
        priority = _highest(session, and_(queued, Job.priority < priority))
    return None


def _is_queued(session: Session) -> ColumnElement[bool]:
    """Whether a job is queued, said so that it is found through the index of queued jobs."""
    # Written out: for a parameter SQLite would not use the index, nor unless it is told that many are queued.
    condition = Job.status == literal_column("'queued'")
    return func.likely(condition) if session.get_bind().dialect.name == "sqlite" else condition


def _highest(session: Session, condition: ColumnElement[bool]) -> int | None:
    """The highest priority among queued jobs, from the end of their index."""
    return session.scalar(select(Job.priority).where(condition).order_by(Job.priority.desc()).limit(1))


def _oldest(session: Session, condition: ColumnElement[bool]) -> Mapping[str, str]:
    """Each owner's oldest job among jobs of one priority.

    From owner to owner through the index: to group ten thousand jobs of one owner takes as long as to read them.
    """
    first = select(func.min(Job.owner).label("owner")).where(condition).cte("owners", recursive=True)
    following = select(func.min(Job.owner)).where(condition, Job.owner > first.c.owner).scalar_subquery()
    owners = first.union_all(select(following).where(first.c.owner.is_not(None)))
    oldest = select(func.min(Job.id)).where(condition, Job.owner == owners.c.owner).scalar_subquery()
    rows = session.execute(select(owners.c.owner, oldest).where(owners.c.owner.is_not(None)))
    return {owner: job_id for owner, job_id in rows}


def fits(offers: Mapping[str, Offer]) -> ColumnElement[bool]:
    """Whether a job asks for what `offers` has for its `device`."""
    return or_(
        *(
            and_(Job.device == device, Job.devices <= offer.devices, Job.precision.in_(offer.precisions))
            for device, offer in offers.items()
        )
    )


def positions(session: Session, found: Sequence[Job]) -> Mapping[str, int]:
    """For each of `found` that is queued, its place in the line: 1 for the next.

    Owners are thought to take turns, and so with several of them it is an estimate.
    """
    queued = [job.id for job in found if job.status is Status.QUEUED]
    if not queued:
        return {}
    turn = func.row_number().over(partition_by=(Job.priority, Job.owner), order_by=Job.id)
    turns = select(Job.id, Job.priority, turn.label("turn")).where(Job.status == Status.QUEUED).subquery()
    place = func.row_number().over(order_by=(turns.c.priority.desc(), turns.c.turn, turns.c.id)).label("place")
    line = select(turns.c.id, place).subquery()
    rows = session.execute(select(line.c.id, line.c.place).where(line.c.id.in_(queued)))
    return {job_id: position for job_id, position in rows}


def _use(session: Session, owners: Collection[str]) -> Mapping[str, float]:
    """Seconds that each of `owners` has used lately; those who have used none are left out."""
    spent = seconds_between(Attempt.started_at, func.coalesce(Attempt.ended_at, now()))
    lately = or_(Attempt.ended_at.is_(None), Attempt.ended_at > ago(LATELY_SECONDS))
    query = select(Job.owner, func.sum(spent)).join(Attempt, Attempt.job_id == Job.id)
    rows = session.execute(query.where(lately, Job.owner.in_(owners)).group_by(Job.owner))
    return {owner: seconds for owner, seconds in rows}
