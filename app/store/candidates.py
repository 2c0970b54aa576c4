"""The snapshots that an ensemble is to be chosen from, as a spec names them.

Only those of finished trainings: one that still runs may have to take its snapshots again, under other ids.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store import snapshots
from app.store.models import Job, Snapshot
from app.store.states import Kind
from trainer import mixing
from trainer.errors import Mistake, SpecInvalid
from trainer.parsing import pointer
from trainer.spec.scoring import NamedSnapshots, ScoringSpec, SnapshotsOfJobs


@dataclass(frozen=True)
class Place:
    """A snapshot, and where the spec names it or its job."""

    pointer: str
    snapshot: Snapshot

    @property
    def candidate(self) -> mixing.Candidate:
        """What decides whether it fits others."""
        known = self.snapshot.provenance
        channels, height, width = known["input_shape"]
        return mixing.Candidate(
            id=self.snapshot.id,
            place=self.pointer,
            classes=tuple(known["classes"]),
            shape=(channels, height, width),
            dataset=known["dataset"]["name"],
        )


def find(session: Session, spec: ScoringSpec, owner: str | None) -> Sequence[Place]:
    """The snapshots in order; what is not `owner`'s (None: anybody's) is not found.

    Their jobs are held until the transaction ends, so that none is deleted or tried again meanwhile. Raises
    `SpecInvalid` with a mistake for each that cannot be had.
    """
    wrong = list(mixing.repeated(spec))
    match spec.members:
        case NamedSnapshots(ids=ids):
            found, missing = _named(session, ids, owner)
        case SnapshotsOfJobs(ids=ids, last=last):
            found, missing = _of_jobs(session, ids, last, owner)
    wrong += missing
    if wrong:
        raise SpecInvalid(wrong)
    return found


def _named(session: Session, ids: Sequence[str], owner: str | None) -> tuple[list[Place], list[Mistake]]:
    query = select(Snapshot).where(Snapshot.id.in_(ids))
    by_id = {snapshot.id: snapshot for snapshot in session.scalars(query)}
    held = _held(session, {snapshot.job_id for snapshot in by_id.values()}, owner)
    found, missing = [], []
    for place, id in enumerate(ids):
        where, snapshot = pointer("members", "ids", place), by_id.get(id)
        if snapshot is None or snapshot.job_id not in held:
            missing.append(Mistake(where, "unknown_snapshot", f"There is no snapshot {id}."))
        else:
            missing += _unfinished(where, held[snapshot.job_id])
            found.append(Place(where, snapshot))
    return found, missing


def _of_jobs(
    session: Session, ids: Sequence[str], last: int | None, owner: str | None
) -> tuple[list[Place], list[Mistake]]:
    held = _held(session, set(ids), owner)
    found: list[Place] = []
    missing: list[Mistake] = []
    for place, id in enumerate(ids):
        where = pointer("members", "ids", place)
        if id not in held or held[id].kind is not Kind.TRAINING:
            missing.append(Mistake(where, "unknown_job", f"There is no training {id}."))
            continue
        missing += _unfinished(where, held[id])
        taken = snapshots.of_job(session, id)
        if not taken:
            missing.append(Mistake(where, "no_snapshots", f"Job {id} has taken no snapshot."))
        found += [Place(where, snapshot) for snapshot in taken[-last if last else 0 :]]
    return found, missing


def _held(session: Session, ids: set[str], owner: str | None) -> Mapping[str, Job]:
    """Jobs by id, held against changes but not against others who hold them so."""
    query = select(Job).where(Job.id.in_(ids)).order_by(Job.id).with_for_update(read=True)
    found = session.scalars(query, execution_options={"populate_existing": True})
    return {job.id: job for job in found if owner is None or job.owner == owner}


def _unfinished(where: str, job: Job) -> Iterator[Mistake]:
    if not job.status.is_final:
        detail = f"Job {job.id} is {job.status}, and may have to take its snapshots again; wait for its end."
        yield Mistake(where, "job_not_final", detail)
