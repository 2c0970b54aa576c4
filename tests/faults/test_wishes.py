"""What a user may wish at the worst of moments."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from app.client import Refused
from app.store.states import Status
from tests.faults.judge import judge
from tests.faults.pace import here
from tests.faults.service import LONGER, SECONDS, TINY
from tests.faults.system import System
from tests.servers import await_true

BRIEF = TINY | {"name": "brief", "epochs": 3}


@contextmanager
def slowly(system: System, change: str, table: str, condition: str) -> Iterator[None]:
    """A transaction that makes such a change waits for half a second in the middle of it."""
    statements = (
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END $$",
        f"CREATE TRIGGER wait BEFORE {change} ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION wait()",
    )
    with system.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    try:
        yield
    finally:
        with system.engine.begin() as connection:
            connection.execute(text("DROP FUNCTION wait() CASCADE"))


def cancelled(system: System, job: str) -> bool:
    try:
        system.client.cancel(job)
    except Refused:
        return False
    return True


@pytest.mark.faults
def test_20_a_cancel_during_the_claim(on_postgresql: System) -> None:
    """The wish waits for the claim and is followed by the worker."""
    system = on_postgresql
    with slowly(system, "INSERT", "attempts", "true"):
        job = system.submit()
        await_true(lambda: waits(system), SECONDS)
        assert cancelled(system, job)
        began = time.monotonic()
        system.await_status(job, Status.CANCELLED)
        print(f"cancelled {time.monotonic() - began:.1f} s after the answer")
        assert time.monotonic() - began < here(2)

    # The training may have begun before the worker sees the wish.
    told = [event.kind for event in system.events(job) if event.kind != "training_started"]
    assert told == ["submitted", "started", "cancel_requested", "cancelled"]
    judge(system, {job: TINY}, {job: Status.CANCELLED})


@pytest.mark.faults
def test_21_a_cancel_during_the_finish(on_postgresql: System) -> None:
    """The job succeeds, and the user is told that it is too late."""
    system = on_postgresql
    with slowly(system, "UPDATE", "jobs", "NEW.status = 'succeeded'"):
        job = system.submit()
        await_true(lambda: system.job(job).epoch == 9, SECONDS)
        while system.status(job) is Status.RUNNING and not waits(system):
            time.sleep(0.005)
        assert not cancelled(system, job)
        system.await_final(job)

    judge(system, {job: TINY})


def waits(system: System) -> bool:
    with system.engine.connect() as connection:
        return bool(connection.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")))


@pytest.mark.faults
def test_22_a_pause_during_a_checkpoint(system: System) -> None:
    """Each epoch ends with one, and pauses at many moments meet some."""
    dice = random.Random(22)
    job = system.submit(LONGER)
    for _ in range(4):
        epoch = system.job(job).epoch
        await_true(lambda: system.job(job).epoch > epoch, SECONDS)  # noqa: B023
        time.sleep(dice.uniform(0, 0.1))
        try:
            system.client.pause(job)
        except Refused:
            break
        await_true(lambda: system.status(job) is not Status.RUNNING, SECONDS)
        if system.status(job) is Status.PAUSED:
            system.client.resume(job)

    system.await_final(job)
    assert "The job was paused. Resumed, it goes on from step" in system.story(job)
    judge(system, {job: LONGER})


@pytest.mark.faults
def test_22_a_pause_of_a_child_that_hangs(system: System) -> None:
    """It ends without a checkpoint, and the job goes on from the one before."""
    job = system.submit(LONGER)
    system.await_epoch(job, 4)
    os.kill(system.await_child(), signal.SIGSTOP)

    system.client.pause(job)
    system.await_status(job, Status.PAUSED)
    system.client.resume(job)

    system.await_final(job)
    judge(system, {job: LONGER})


@pytest.mark.faults
def test_22_a_pause_of_a_worker_that_is_gone(system: System) -> None:
    """The job is paused once its lease has run out."""
    system.start_worker()
    job = system.submit(LONGER)
    system.await_epoch(job, 4)
    stopped = next(worker for worker in system.workers if worker.children())
    system.freeze(stopped)

    system.client.pause(job)
    system.await_status(job, Status.PAUSED)
    stopped.signal(signal.SIGCONT)
    system.client.resume(job)

    system.await_final(job)
    assert "stopped renewing its lease. The job is paused, as was asked; resumed, it goes on" in system.story(job)
    judge(system, {job: LONGER})


@pytest.mark.faults
def test_20_and_21_cancels_at_any_moment(system: System) -> None:
    """Forty jobs, each cancelled at a moment of its own between the submit and some time after its end."""
    dice = random.Random(20)
    system.start_worker()
    answers: dict[str, bool] = {}
    slowest: list[float] = []

    def live() -> None:
        job = system.submit(BRIEF)
        time.sleep(dice.uniform(0, 2.0))
        asked = time.monotonic()
        answers[job] = cancelled(system, job)
        if answers[job]:
            system.await_status(job, Status.CANCELLED)
            slowest.append(time.monotonic() - asked)

    for _ in range(10):
        clients = [threading.Thread(target=live) for _ in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    assert len(answers) == 40
    system.await_final(*answers)
    print(f"{sum(answers.values())} of 40 cancelled, the slowest after {max(slowest):.2f} s")
    assert max(slowest) < here(2)
    judge(system, dict.fromkeys(answers, BRIEF), {job: Status.CANCELLED for job, answer in answers.items() if answer})
