"""Jobs of every kind: submitted, found, listed, moved, deleted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy import delete as delete_from
from sqlalchemy.orm import Session

from app.store import blobs, cursors, datasets, events, ids, snapshots
from app.store.clock import now
from app.store.errors import KeyInFlight, KeyReused, MoveRefused, NotFound, QueueFull
from app.store.models import Checkpoint, Dataset, IdempotencyKey, Job, JobFile, Json, Snapshot
from app.store.states import ACTIONS, Kind, Phase, Status, Wanted, check_move
from trainer.spec import TrainingSpec

Sort = Literal["created_at", "-created_at", "name", "-name"]

DEFAULT_OWNER = "default"


@dataclass(frozen=True)
class JobFilter:
    """What a list is narrowed to; empty means all. `name` is a part of the name, in any case of letters."""

    status: tuple[Status, ...] = ()
    name: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    dataset: str | None = None
    owner: str | None = None
    kind: tuple[Kind, ...] = (Kind.TRAINING,)
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class NewJob:
    """What is to be done, whatever its kind. `spec` is the document that says it, with a `device` that it asks for.

    What is no training counts `steps` of one epoch. `max_attempts` is None where the server's are to hold.
    """

    kind: Kind
    name: str
    spec: Json
    spec_sha256: str
    device: str
    steps: int
    epochs: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    dataset_id: str | None = None
    devices: int = 1
    precision: str = "float32"
    priority: int = 0
    max_attempts: int | None = None
    max_runtime: float | None = None


@dataclass(frozen=True)
class Idempotency:
    """A client's key and the hash of the request that it stands for. What others call by the same key is theirs."""

    key: str
    request_sha256: str
    owner: str = DEFAULT_OWNER


def submit(
    session: Session,
    spec: TrainingSpec,
    dataset: Dataset,
    *,
    steps_per_epoch: int,
    max_attempts: int,
    owner: str = DEFAULT_OWNER,
    max_queued: int | None = None,
    idempotency: Idempotency | None = None,
) -> tuple[Job, bool]:
    """Queue a training, or find the one that the same key made before, as `enqueue`."""
    new = NewJob(
        kind=Kind.TRAINING,
        name=spec.name,
        spec=spec.model_dump(mode="json"),
        spec_sha256=spec.sha256,
        device=spec.device,
        steps=steps_per_epoch,
        epochs=spec.total_epochs,
        labels=spec.labels,
        dataset_id=dataset.id,
        devices=spec.devices,
        precision=spec.execution.precision,
        priority=spec.priority,
        max_attempts=spec.max_attempts,
        max_runtime=spec.max_runtime,
    )
    return enqueue(session, new, max_attempts=max_attempts, owner=owner, max_queued=max_queued, idempotency=idempotency)


def enqueue(
    session: Session,
    new: NewJob,
    *,
    max_attempts: int,
    owner: str = DEFAULT_OWNER,
    max_queued: int | None = None,
    idempotency: Idempotency | None = None,
) -> tuple[Job, bool]:
    """Queue a job, or find the one that the same key made before; the flag says whether it is new.

    `max_attempts` is for those that say none.
    Raises `KeyReused` when the key stands for another request, `KeyInFlight` while another submit holds it, and
    `QueueFull` while `max_queued` jobs wait. On PostgreSQL submits do not wait for each other's count, and so the
    queue may come to hold one job more for each submit that was being answered at that moment.
    """
    if idempotency and (job := known(session, idempotency)):
        return job, False
    if max_queued is not None and _count_queued(session) >= max_queued:
        raise QueueFull(max_queued)
    job = Job(
        id=ids.new("job"),
        kind=new.kind,
        name=new.name,
        labels=dict(new.labels),
        dataset_id=new.dataset_id,
        spec=new.spec,
        spec_sha256=new.spec_sha256,
        device=new.device,
        devices=new.devices,
        precision=new.precision,
        owner=owner,
        priority=new.priority,
        epochs=new.epochs,
        steps_per_epoch=new.steps,
        status=Status.QUEUED,
        wanted=Wanted.RUN,
        version=0,
        attempt=0,
        event_count=0,
        max_attempts=new.max_attempts or max_attempts,
        max_runtime=new.max_runtime,
        first_attempt=1,
        # The bell follows the commit; should it be lost, the sweep finds this moment to be long ago.
        rung_at=now(),
    )
    session.add(job)
    session.flush()
    events.append(session, job, "submitted", "The job was submitted.")
    if idempotency:
        session.add(IdempotencyKey(**asdict(idempotency), job_id=job.id))
    session.flush()
    session.refresh(job)
    return job, True


def known(session: Session, idempotency: Idempotency) -> Job | None:
    """The job that the key stands for. On PostgreSQL the key is held until the transaction ends.

    Raises `KeyReused` and `KeyInFlight` as `submit` does.
    """
    if session.get_bind().dialect.name == "postgresql":
        name = f"{idempotency.owner}/{idempotency.key}"
        held = session.scalar(select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, 0))))
        if not held:
            raise KeyInFlight(f"A request with the key {idempotency.key} is being answered.")
    held_by = session.get(IdempotencyKey, (idempotency.owner, idempotency.key))
    if held_by is None:
        return None
    if held_by.request_sha256 != idempotency.request_sha256:
        raise KeyReused(f"The key {idempotency.key} stands for another request.")
    return get(session, held_by.job_id)


def get(session: Session, job_id: str) -> Job:
    """The job. Raises `NotFound`."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound("job", job_id)
    return job


def several(session: Session, job_ids: Sequence[str]) -> Mapping[str, Job]:
    """Those of the jobs that there are, by id."""
    return {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(job_ids)))}


def owner(session: Session, job_id: str) -> str:
    """Whose job it is. Raises `NotFound`."""
    found = session.scalar(select(Job.owner).where(Job.id == job_id))
    if found is None:
        raise NotFound("job", job_id)
    return found


def lock(session: Session, job_id: str) -> Job:
    """The job, held until the transaction ends. Raises `NotFound`."""
    query = select(Job).where(Job.id == job_id).with_for_update()
    job = session.scalars(query, execution_options={"populate_existing": True}).first()
    if job is None:
        raise NotFound("job", job_id)
    return job


def page(
    session: Session, filters: JobFilter, sort: Sort, after: str | None, limit: int
) -> tuple[Sequence[Job], str | None]:
    """`limit` jobs after a cursor, and the cursor after them, None at the end. Raises `CursorInvalid`.

    Ids are made in the order of time, and so `created_at` sorts by them.
    """
    query = _filtered(filters)
    columns = [Job.name, Job.id] if sort.endswith("name") else [Job.id]
    descending = sort.startswith("-")
    bound = [asdict(filters), sort]
    if after is not None:
        position = tuple(cursors.decode(bound, after, len(columns)))
        place = tuple_(*columns)
        query = query.where(place < position if descending else place > position)
    order = [column.desc() if descending else column.asc() for column in columns]
    found = session.scalars(query.order_by(*order).limit(limit + 1)).all()
    jobs = found[:limit]
    if len(found) <= limit:
        return jobs, None
    return jobs, cursors.encode(bound, [str(getattr(jobs[-1], column.key)) for column in columns])


def delete(session: Session, job_id: str) -> None:
    """Remove a finished job, all that belongs to it, and the blobs that only it needed.

    Raises `NotFound`, `MoveRefused` for a job that is not final, or `InUse` where ensembles are made of its snapshots.
    """
    job = lock(session, job_id)
    if not job.status.is_final:
        raise MoveRefused(job.id, job.status, "deleted", ACTIONS[job.status])
    snapshots.refuse_use(session, job.id, "deleted")
    owned = [
        hash
        for table in (Snapshot, Checkpoint, JobFile)
        for hash in session.scalars(select(table.sha256).where(table.job_id == job_id))
    ]
    if job.kind is Kind.IMPORT:
        datasets.give_up(session, job)
    session.execute(delete_from(Job).where(Job.id == job_id))
    blobs.delete_unreferenced(session, owned)


def move(job: Job, after: Status) -> None:
    """Put a job that the caller holds locked into another status. Raises `MoveRefused`."""
    check_move(job.id, job.status, after)
    job.status = after
    job.phase = Phase.STARTING if after is Status.RUNNING else None
    job.version += 1
    if after is Status.QUEUED:
        job.rung_at = None
    if after is Status.RUNNING and job.started_at is None:
        job.started_at = now()
    job.finished_at = now() if after.is_final else None
    if after.is_final and job.wanted is Wanted.PAUSE:
        # The end came first.
        job.wanted = Wanted.RUN


def versions(session: Session, job_ids: Sequence[str]) -> dict[str, int]:
    """The version of each job that exists."""
    rows = session.execute(select(Job.id, Job.version).where(Job.id.in_(job_ids)))
    return {job_id: version for job_id, version in rows}


def _count_queued(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Job).where(Job.status == Status.QUEUED)) or 0


def _filtered(filters: JobFilter) -> Select[Job]:
    query = select(Job)
    if filters.kind:
        query = query.where(Job.kind.in_(filters.kind))
    if filters.status:
        query = query.where(Job.status.in_(filters.status))
    if filters.ids:
        query = query.where(Job.id.in_(filters.ids))
    if filters.owner:
        query = query.where(Job.owner == filters.owner)
    if filters.name:
        query = query.where(Job.name.icontains(filters.name, autoescape=True))
    if filters.dataset:
        query = query.join(Dataset).where(Dataset.name == filters.dataset)
    labels: Any = Job.labels
    for key, value in filters.labels:
        query = query.where(labels[key].as_string() == value)
    return query
