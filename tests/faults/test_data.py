"""What may happen to files and stored bytes."""

from collections.abc import Iterator

import pytest
from sqlalchemy import delete, select, update

from app.store.engine import read, write
from app.store.models import BlobChunk, Checkpoint
from app.store.states import FailureClass, Status
from tests.faults.judge import judge
from tests.faults.service import LONGER, TINY
from tests.faults.system import System

WIDE = TINY | {"name": "wide", "network": {"kind": "mlp", "hidden": [1024]}}
"""Its checkpoints have more than three megabytes each."""


@pytest.mark.faults
def test_25_the_scratch_disk_is_full(system: System) -> None:
    """The job that does not fit fails, saying where and how much; others go on. The disk is a small one in memory."""
    system.kill(system.worker)
    mount = f"mkdir -p {system.scratch} && mount -t tmpfs -o size=2m tmpfs {system.scratch}"
    system.start_worker(wrapper=["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh"])
    job, other = system.submit(WIDE), system.submit()

    system.await_final(job, other)
    failed = system.job(job)
    assert (failed.failure_class, failed.failure_code) == (FailureClass.INFRASTRUCTURE, "disk_full")
    assert f"The worker's scratch disk is full: {system.scratch}" in system.story(job)
    assert "bytes free" in system.story(job)
    judge(system, {job: WIDE, other: TINY}, {job: Status.FAILED})


def interrupted(system: System) -> Iterator[str]:
    """A job that waits for another worker, with two checkpoints."""
    job = system.submit(LONGER)
    system.await_epoch(job, 5)
    system.workers.pop().stop()
    yield job
    system.start_worker()
    system.await_final(job)


def newest_checkpoint(system: System, job: str) -> Checkpoint:
    with read(system.engine) as session:
        query = select(Checkpoint).where(Checkpoint.job_id == job).order_by(Checkpoint.step.desc())
        found = session.scalars(query).first()
        assert found is not None
        session.expunge(found)
        return found


@pytest.mark.faults
def test_27_a_checkpoint_is_damaged(system: System) -> None:
    for job in interrupted(system):
        newest = newest_checkpoint(system, job)
        with write(system.engine) as session:
            session.execute(update(BlobChunk).where(BlobChunk.sha256 == newest.sha256).values(data=b"damaged"))

    assert f"The checkpoint of step {newest.step} is damaged" in system.story(job)
    judge(system, {job: LONGER})


@pytest.mark.faults
def test_27_every_checkpoint_is_damaged(system: System) -> None:
    """Then it is trained from the start."""
    for job in interrupted(system):
        with write(system.engine) as session:
            hashes = select(Checkpoint.sha256).where(Checkpoint.job_id == job)
            session.execute(update(BlobChunk).where(BlobChunk.sha256.in_(hashes)).values(data=b"damaged"))

    assert "The job will go on from the start." in system.story(job)
    judge(system, {job: LONGER})


@pytest.mark.faults
def test_28_a_chunk_is_missing(system: System) -> None:
    for job in interrupted(system):
        newest = newest_checkpoint(system, job)
        with write(system.engine) as session:
            session.execute(delete(BlobChunk).where(BlobChunk.sha256 == newest.sha256))

    assert f"The checkpoint of step {newest.step} is damaged" in system.story(job)
    judge(system, {job: LONGER})
