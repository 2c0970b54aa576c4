"""The one judge of all faults: whether the whole promise was kept, whatever has happened.

Each job is final once; each epoch and each step of its series is there once and each value and each byte is that of
an undisturbed training; attempts and events tell one story without gaps; nothing is left over; and one more sweep
changes nothing.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store import blobs, datasets, metrics, snapshots, sweep
from app.store.engine import read
from app.store.errors import BlobDamaged
from app.store.models import Attempt, Base, Blob, Checkpoint, Dataset, Event, Job
from app.store.states import Outcome, Status
from tests.faults import reference
from tests.faults.reference import Reference
from tests.faults.service import Service
from tests.faults.system import System, parents
from trainer.offer import Offer

Kind = Literal["lost", "doubled", "differing", "inconsistent", "left over"]

SETTLE_SECONDS = 10.0
ANYTHING = dict.fromkeys(("auto", "cpu", "cuda"), Offer(1000, frozenset(["float32", "bfloat16", "float16"])))
BEGINNINGS = {"started", "resumed"}
CLOSINGS = {
    Outcome.SUCCEEDED: {"succeeded"},
    Outcome.FAILED: {"failed"},
    Outcome.CANCELLED: {"cancelled"},
    Outcome.LOST: {"requeued", "paused", "failed", "cancelled"},
    Outcome.CRASHED: {"requeued", "paused", "failed", "cancelled"},
    Outcome.RELEASED: {"released", "paused", "cancelled"},
}
"""How an attempt's end is told."""
WHILE_IT_WAITED = " while it was "
"""In the events of jobs that are paused or cancelled while they are queued or paused."""
ONCE_AN_ATTEMPT = {"training_started", "dataset_packed", "snapshot_taken", "ensemble_scored", *BEGINNINGS}
PASSING = {"workers"}
"""Tables that change by themselves."""


@dataclass(frozen=True)
class Breach:
    """A broken promise."""

    kind: Kind
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.what}"


def judge(
    system: System, specs: Mapping[str, Mapping[str, Any]], ended: Mapping[str, Status] = MappingProxyType({})
) -> None:
    """Assert the whole promise for jobs, given with the specs that they were submitted with.

    All must have succeeded, but for those that `ended` otherwise.
    """
    breaches = breaches_of(system, specs)
    for job_id in specs:
        job, expected = system.job(job_id), ended.get(job_id, Status.SUCCEEDED)
        if job.status is not expected:
            breaches.append(Breach("lost", job_id, f"it is {job.status}, not {expected}: {job.failure_message}"))
    assert not breaches, "\n".join(map(str, breaches))


def judge_story(system: System, job_id: str) -> None:
    """Assert that a job of any kind has succeeded, and that its attempts and events tell one story."""
    with read(system.engine) as session:
        job = session.get_one(Job, job_id)
        breaches = list(_history(session, job))
        assert job.status is Status.SUCCEEDED, job.failure_message
    assert not breaches, "\n".join(map(str, breaches))


def judge_imports(system: System, ended: Mapping[str, Status]) -> None:
    """Assert the promise for imports: each ended as it should, its story is told, and no more is kept than it made."""
    breaches = list(_left_running(system))
    with read(system.engine) as session:
        for job_id, expected in ended.items():
            job = session.get_one(Job, job_id)
            if job.status is not expected:
                breaches.append(Breach("lost", job_id, f"it is {job.status}, not {expected}: {job.failure_message}"))
            breaches += _history(session, job)
            dataset = session.get_one(Dataset, job.dataset_id)
            is_there = dataset.ready_at is not None
            if is_there != (expected is Status.SUCCEEDED) or bool(datasets.files(session, dataset.id)) != is_there:
                breaches.append(Breach("inconsistent", job_id, f"its data set is {'' if is_there else 'not '}there"))
    breaches += _left_in_the_database(system)
    assert not breaches, "\n".join(map(str, breaches))


def breaches_of(system: System, specs: Mapping[str, Mapping[str, Any]]) -> list[Breach]:
    """Every promise that is broken now that all should be over."""
    return [*_left_running(system), *breaches_in_the_database(system, specs, reference.of)]


def breaches_in_the_database(
    service: Service,
    specs: Mapping[str, Mapping[str, Any]],
    undisturbed: Callable[[Mapping[str, Any], int | None], Reference],
) -> list[Breach]:
    """What the database alone tells of broken promises; `undisturbed` as `reference.of`."""
    found = []
    for job_id, spec in specs.items():
        with read(service.engine) as session:
            job = session.get(Job, job_id)
        if job is None or not job.status.is_final:
            found.append(Breach("lost", job_id, f"it is {job.status if job else 'gone'}"))
            continue
        whole = job.status is Status.SUCCEEDED
        # It takes its time, and no transaction is to wait for it.
        expected = undisturbed(spec, None if whole else job.epoch + 1)
        with read(service.engine) as session:
            found += _history(session, job)
            found += _results(session, job, expected, whole)
    found += _left_in_the_database(service)
    return found


# A job's history.


def _history(session: Session, job: Job) -> Iterator[Breach]:
    attempts = session.scalars(select(Attempt).where(Attempt.job_id == job.id).order_by(Attempt.number)).all()
    events = session.scalars(select(Event).where(Event.job_id == job.id).order_by(Event.number)).all()

    def wrong(what: str, kind: Kind = "inconsistent") -> Breach:
        return Breach(kind, job.id, f"{what} [{' '.join(event.kind for event in events)}]")

    if [attempt.number for attempt in attempts] != list(range(1, job.attempt + 1)):
        yield wrong(f"attempts {[attempt.number for attempt in attempts]} of {job.attempt}")
    if [event.number for event in events] != list(range(1, job.event_count + 1)):
        yield wrong(f"events {[event.number for event in events]} of {job.event_count}")
    if events[0].kind != "submitted" or events[-1].kind != job.status:
        yield wrong(f"the story of a job that is {job.status} has another beginning or end")
    if sum(event.kind == "submitted" for event in events) != 1:
        yield wrong("submitted more than once", "doubled")
    if any(
        event.attempt and following.attempt and following.attempt < event.attempt
        for event, following in pairwise(events)
    ):
        yield wrong("an attempt that was over has told something")
    for before, after in pairwise(attempts):
        if before.ended_at is None or before.ended_at > after.started_at:
            yield wrong(f"attempt {after.number} began before attempt {before.number} had ended")
    for attempt in attempts:
        told = [event for event in events if event.attempt == attempt.number]
        yield from (wrong(what, kind) for kind, what in _attempt(attempt, told))


def _attempt(attempt: Attempt, events: Sequence[Event]) -> Iterator[tuple[Kind, str]]:
    number = attempt.number
    if attempt.outcome is None:
        yield "inconsistent", f"attempt {number} is still open"
        return
    if not events or events[0].kind != ("started" if number == 1 else "resumed"):
        yield "inconsistent", f"attempt {number} was claimed untold"
    closings = [
        event.kind
        for event in events
        # What becomes of a job that waits again is no end of the attempt before.
        if event.kind in CLOSINGS[attempt.outcome] and WHILE_IT_WAITED not in event.message
    ]
    if len(closings) != 1:
        yield "inconsistent", f"attempt {number}, {attempt.outcome}, was closed by {closings or 'no event'}"
    told = Counter((event.kind, event.message) for event in events if event.kind in ONCE_AN_ATTEMPT)
    for (kind, message), count in told.items():
        if count > 1:
            yield "doubled", f"attempt {number} told {count} times of {kind}: {message}"


# What a job has to show.


def _results(session: Session, job: Job, expected: Reference, whole: bool) -> Iterator[Breach]:
    found = reference.stored(session, job.id)
    numbers = [row[0] for row in found.epochs]
    yield from _compared(job, "epochs", numbers, found.epochs, expected.epochs, whole)
    for name, values in expected.series.items():
        steps = metrics.series(session, job.id, name).steps.tolist()
        yield from _compared(job, name, steps, found.series[name], values, whole)
    numbers = [one.number for one in snapshots.of_job(session, job.id)]
    yield from _compared(job, "snapshots", numbers, found.snapshots, expected.snapshots, whole)
    if whole and found.accuracy != expected.accuracy:
        yield Breach("differing", job.id, f"the ensemble's accuracy is {found.accuracy}, not {expected.accuracy}")
    if whole and session.scalars(select(Checkpoint).where(Checkpoint.job_id == job.id)).all():
        yield Breach("left over", job.id, "it has succeeded and has checkpoints")


def _compared(
    job: Job, what: str, numbers: Sequence[float], found: Sequence[Any], expected: Sequence[Any], whole: bool
) -> Iterator[Breach]:
    """Numbered from 1 without gaps, equal to what was expected, of which a job that did not succeed may have a part."""
    if list(numbers) != list(range(1, len(numbers) + 1)):
        kind: Kind = "doubled" if len(set(numbers)) < len(numbers) else "lost"
        yield Breach(kind, job.id, f"{what} are not numbered one by one: {list(numbers)[:50]}")
    elif whole and len(found) < len(expected):
        yield Breach("lost", job.id, f"{len(found)} of {len(expected)} {what}")
    elif list(found) != list(expected[: len(found)]):
        different = next(i for i, one in enumerate(found) if i >= len(expected) or one != expected[i])
        yield Breach("differing", job.id, f"{what} differ from number {different + 1} on")


# What is left over.


def _left_running(system: System) -> list[Breach]:
    """Processes and files, once they have had a moment to go."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = [*_processes(system), *_files(system)]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def _processes(system: System) -> Iterator[Breach]:
    roots = {part.pid for part in (*system.workers, system.api) if part}
    for worker in system.workers:
        for child in worker.children():
            yield Breach("left over", f"process {child}", "a training that nobody waits for")
    for pid in system.processes():
        if roots.isdisjoint(parents(pid)):
            yield Breach("left over", f"process {pid}", "nobody's child")


def _files(system: System) -> Iterator[Breach]:
    if not system.scratch.exists():
        return
    folders = list(system.scratch.iterdir())
    if len(folders) > len(system.workers):
        yield Breach("left over", str(system.scratch), f"{len(folders)} folders of {len(system.workers)} workers")
    for folder in folders:
        for entry in folder.iterdir():
            if entry.is_dir():
                yield Breach("left over", str(folder), f"{entry.name} with {[file.name for file in entry.iterdir()]}")


def _left_in_the_database(service: Service) -> Iterator[Breach]:
    with read(service.engine) as session:
        for attempt in session.scalars(select(Attempt).where(Attempt.outcome.is_(None))):
            yield Breach("left over", attempt.job_id, f"attempt {attempt.number} holds a lease")
    before = _digest(service)
    if service.act(sweep.rescue) or service.act(sweep.needing_bell, 0.0, ANYTHING):
        yield Breach("left over", "sweep", "there was something to rescue or to ring for")
    if _digest(service) != before:
        yield Breach("left over", "sweep", "a second sweep has changed something")
    while service.act(blobs.collect, 0.0)[0]:
        pass
    with read(service.engine) as session:
        used = {sha256 for table in blobs.REFERRING for sha256 in session.scalars(select(table.sha256))}
        stored = set(session.scalars(select(Blob.sha256)))
    if stored != used:
        yield Breach("left over", "blobs", f"{len(stored - used)} without an owner, {len(used - stored)} missing")
    for hash in used:
        yield from _blob(service, hash)


def _blob(service: Service, hash: str) -> Iterator[Breach]:
    digest = sha256()
    try:
        for data in blobs.stream(service.engine, hash):
            digest.update(data)
    except BlobDamaged as error:
        yield Breach("differing", hash, str(error))
        return
    if digest.hexdigest() != hash:
        yield Breach("differing", hash, "its bytes are not what its name says")


def _digest(service: Service) -> str:
    """A hash over all that the database says and that does not change by itself."""
    digest = sha256()
    with read(service.engine) as session:
        for table in Base.metadata.sorted_tables:
            if table.name not in PASSING:
                rows = sorted(repr(tuple(row)) for row in session.execute(select(table)))
                digest.update(json.dumps([table.name, rows]).encode())
    return digest.hexdigest()
