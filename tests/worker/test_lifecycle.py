"""Pause, resume, retry, limits and draining, on a real worker process; commits whose answer is lost."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, exc, select, text, update
from sqlalchemy.orm import Session

from app.queue import Bell
from app.store import engine as engines
from app.store import events, snapshots, wishes
from app.store.engine import write
from app.store.models import Attempt, BlobChunk, Checkpoint
from app.store.states import Outcome, Status
from tests.faults.system import is_running, parents
from tests.servers import await_true
from tests.shop import Shop
from tests.worker.conftest import Plant
from tests.worker.watching import LONG, Undisturbed, assert_same, await_epoch, await_status, kinds, status
from trainer.events import LintFound, TrainingFinished
from worker import ledger
from worker.machine import Machine
from worker.settings import WorkerSettings
from worker.station import Station
from worker.supervisor import Supervisor
from worker.wire import Message


def test_a_job_that_is_paused_and_resumed_ends_with_the_same_bytes(plant: Plant, undisturbed: Undisturbed) -> None:
    job = plant.shop.submit(**LONG)
    plant.bell.ring("auto")
    for epoch in (2, 5):
        await_epoch(plant.shop, job, epoch)
        plant.shop.act(wishes.pause, job.id)
        await_status(plant.shop, job, Status.PAUSED)
        await_true(lambda: plant.worker.children() == [], 5)

        plant.shop.act(wishes.resume, job.id)
        plant.bell.ring("auto")
    await_status(plant.shop, job, Status.SUCCEEDED)

    assert plant.shop.job(job.id).attempt == 3
    told = kinds(plant.shop, job)
    assert told.count("pause_requested") == told.count("paused") == told.count("resumed") == 2
    assert_same(plant.shop, job, undisturbed)


def test_a_paused_job_leaves_its_device_to_the_next(plant: Plant) -> None:
    first, second = plant.shop.submit(**{**LONG, "epochs": 900}), plant.shop.submit()
    plant.bell.ring("auto")
    await_epoch(plant.shop, first, 1)

    plant.shop.act(wishes.pause, first.id)

    await_status(plant.shop, second, Status.SUCCEEDED)
    assert status(plant.shop, first) is Status.PAUSED


def test_a_pause_while_the_child_hangs_takes_no_longer_than_its_grace(hasty_plant: Plant) -> None:
    job = hasty_plant.shop.submit(**{**LONG, "epochs": 900})
    hasty_plant.bell.ring("auto")
    await_epoch(hasty_plant.shop, job, 2)
    (child,) = hasty_plant.worker.children()
    os.kill(child, signal.SIGSTOP)

    hasty_plant.shop.act(wishes.pause, job.id)

    await_true(lambda: status(hasty_plant.shop, job) is Status.PAUSED, 6)
    with hasty_plant.shop.look() as session:
        assert session.scalars(select(Checkpoint.step)).all() != []


def test_a_job_that_runs_for_longer_than_it_may_fails_and_can_go_on_when_retried(plant: Plant) -> None:
    job = plant.shop.submit(**{**LONG, "epochs": 900, "max_runtime": 1.5})
    plant.bell.ring("auto")
    await_status(plant.shop, job, Status.FAILED)

    failed = plant.shop.job(job.id)
    assert (failed.failure_class, failed.failure_code) == ("timeout", "max_runtime")
    assert "1.5 seconds" in str(failed.failure_message)
    assert "max_runtime" in str(failed.failure_hint)
    with plant.shop.look() as session:
        (checkpoint,) = session.scalars(select(Checkpoint.step)).all()
    plant.shop.act(wishes.retry, job.id, "checkpoint")
    plant.bell.ring("auto")
    await_true(lambda: plant.shop.job(job.id).step > checkpoint, 20)


@pytest.mark.parametrize("start", ["checkpoint", "start"])
def test_a_cancelled_job_that_is_retried_ends_with_the_same_bytes(
    plant: Plant, undisturbed: Undisturbed, start: wishes.From
) -> None:
    job = plant.shop.submit(**LONG)
    plant.bell.ring("auto")
    await_epoch(plant.shop, job, 4)
    plant.shop.act(wishes.cancel, job.id)
    await_status(plant.shop, job, Status.CANCELLED)

    plant.shop.act(wishes.retry, job.id, start)
    plant.bell.ring("auto")
    await_status(plant.shop, job, Status.SUCCEEDED)

    with plant.shop.look() as session:
        first, second = session.scalars(select(Attempt).where(Attempt.job_id == job.id).order_by(Attempt.number))
    assert (second.first_step == 1) == (start == "start")
    assert first.outcome is Outcome.CANCELLED
    assert_same(plant.shop, job, undisturbed)


def test_a_damaged_snapshot_is_taken_again_and_said(own_plant: Plant, undisturbed: Undisturbed) -> None:
    job = own_plant.shop.submit(**LONG)
    own_plant.bell.ring("auto")
    await_epoch(own_plant.shop, job, 5)
    own_plant.worker.stop()
    with write(own_plant.shop.engine) as session:
        first = snapshots.of_job(session, job.id)[0]
        session.execute(update(BlobChunk).where(BlobChunk.sha256 == first.sha256).values(data=b"damaged"))

    with own_plant.another():
        own_plant.bell.ring("auto")
        await_status(own_plant.shop, job, Status.SUCCEEDED)
    with own_plant.shop.look() as session:
        told = [event.message for event in events.after(session, job.id, 0, 100)]
    assert any("Snapshot 1, of step 189, is damaged" in message for message in told)
    assert_same(own_plant.shop, job, undisturbed)


def test_a_worker_whose_training_hangs_ends_within_its_grace(hasty_plant: Plant) -> None:
    job = hasty_plant.shop.submit(**{**LONG, "epochs": 900})
    hasty_plant.bell.ring("auto")
    await_epoch(hasty_plant.shop, job, 2)
    (child,) = hasty_plant.worker.children()
    os.kill(child, signal.SIGSTOP)

    assert hasty_plant.worker.stop(5) == 0

    assert status(hasty_plant.shop, job) is Status.QUEUED
    assert kinds(hasty_plant.shop, job)[-1] == "released"
    assert not Path(f"/proc/{child}").exists()


def test_a_second_signal_ends_a_worker_at_once(own_plant: Plant, undisturbed: Undisturbed) -> None:
    job = own_plant.shop.submit(**LONG)
    own_plant.bell.ring("auto")
    await_epoch(own_plant.shop, job, 4)
    (child,) = own_plant.worker.children()
    os.kill(child, signal.SIGSTOP)

    own_plant.worker.signal(signal.SIGTERM)
    time.sleep(0.3)
    own_plant.worker.signal(signal.SIGTERM)

    assert own_plant.worker.wait(5) != 0
    await_true(lambda: not Path(f"/proc/{child}").exists(), 5)
    with own_plant.another():
        await_status(own_plant.shop, job, Status.SUCCEEDED)
    assert list((own_plant.folder / "scratch").iterdir()) == []
    assert_same(own_plant.shop, job, undisturbed)


def test_a_child_that_is_stopped_does_not_outlive_a_killed_worker(own_plant: Plant) -> None:
    job = own_plant.shop.submit(**{**LONG, "epochs": 900})
    own_plant.bell.ring("auto")
    await_epoch(own_plant.shop, job, 2)
    (child,) = own_plant.worker.children()
    _, server, *_ = parents(child)

    os.kill(child, signal.SIGSTOP)
    own_plant.worker.kill()

    await_true(lambda: not is_running(child) and not is_running(server), 10)


def test_a_worker_ends_within_its_grace_while_the_database_does_not_answer(hasty_plant: Plant) -> None:
    job = hasty_plant.shop.submit(**{**LONG, "epochs": 900})
    hasty_plant.bell.ring("auto")
    await_epoch(hasty_plant.shop, job, 2)
    (child,) = hasty_plant.worker.children()

    with silent(hasty_plant.engine):
        hasty_plant.worker.signal(signal.SIGTERM)
        assert hasty_plant.worker.wait(4.5) != 0

    await_true(lambda: not Path(f"/proc/{child}").exists(), 5)
    assert status(hasty_plant.shop, job) is Status.RUNNING


@contextmanager
def silent(engine: Engine) -> Iterator[None]:
    """A database that lets everybody wait who wants to write."""
    with write(engine) as session:
        if engine.dialect.name == "postgresql":
            # Should somebody hold one of them and want another, it is they who are told of a deadlock, and try again.
            session.execute(text("SET LOCAL deadlock_timeout = '1min'"))
            session.execute(text("LOCK TABLE jobs, attempts, workers IN EXCLUSIVE MODE"))
        else:
            session.execute(text("SELECT 1"))
        yield


def test_a_commit_whose_answer_is_lost_is_made_once(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(engine)
    claim = shop.claimed()
    calls = itertools.count()

    def deaf(engine: Engine, work: Callable[[Session], Any]) -> Any:
        answer = engines.retry(engine, work)
        if next(calls) % 2 == 0:
            raise exc.OperationalError("COMMIT", {}, OSError("the server closed the connection"))
        return answer

    monkeypatch.setattr(ledger, "retry", deaf)
    monkeypatch.setattr(ledger, "RETRY_SECONDS", 0.01)
    machine = Machine((), 1, {"cpu": ("float32",)})
    station = Station(engine, Bell("redis://127.0.0.1:9/0"), WorkerSettings(scratch=tmp_path), machine)
    supervisor = Supervisor(station, claim, ("cpu",))

    for number in (1, 2):
        supervisor._store([Message(LintFound("conv1", "dead", f"Finding {number}."))])
    supervisor._store([Message(TrainingFinished(4))])
    supervisor._finish(None)

    assert next(calls) == 8
    assert kinds(shop, shop.job(claim.job_id)) == ["submitted", "started", "lint", "lint", "succeeded"]
    assert shop.job(claim.job_id).status is Status.SUCCEEDED
