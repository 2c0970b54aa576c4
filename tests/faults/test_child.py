"""What may happen to the process that trains."""

import os
import signal
import time
from pathlib import Path

import pytest

from app.store.states import Outcome, Status
from tests.faults.judge import judge
from tests.faults.pace import here
from tests.faults.service import ENDLESS, LONGER, TINY
from tests.faults.system import System, is_running
from tests.servers import await_true
from tests.specs import document


def outcomes(system: System, job: str) -> list[Outcome | None]:
    return [attempt.outcome for attempt in system.attempts(job)]


def test_01_a_killed_child(system: System) -> None:
    job = system.submit(LONGER)
    system.await_epoch(job, 4)

    since = time.time()
    os.kill(system.await_child(), signal.SIGKILL)

    assert system.recovered(job, since) < here(3)
    system.await_final(job)
    assert outcomes(system, job) == [Outcome.CRASHED, Outcome.SUCCEEDED]
    assert "The training process ended with signal 9. The job will go on from step" in system.story(job)
    judge(system, {job: LONGER})


@pytest.mark.faults
def test_02_a_child_that_crashes(system: System) -> None:
    job = system.submit(LONGER)
    system.await_epoch(job, 4)

    since = time.time()
    os.kill(system.await_child(), signal.SIGSEGV)

    assert system.recovered(job, since) < here(3)
    system.await_final(job)
    assert "The training process ended with signal 11. The job will go on from step" in system.story(job)
    judge(system, {job: LONGER})


@pytest.mark.faults
def test_03_a_child_that_hangs(system: System) -> None:
    system.kill(system.worker)
    system.start_worker(silence_seconds="3")
    job = system.submit(LONGER)
    system.await_epoch(job, 4)

    since = time.time()
    os.kill(system.await_child(), signal.SIGSTOP)

    assert 2 < system.recovered(job, since) < 3 + here(3)
    system.await_final(job)
    assert "The training process reported nothing for 3 seconds and was ended." in system.story(job)
    judge(system, {job: LONGER})


def test_23_a_hanging_child_is_cancelled(system: System) -> None:
    job = system.submit(ENDLESS)
    system.await_epoch(job, 2)
    child = system.await_child()
    os.kill(child, signal.SIGSTOP)

    since = time.monotonic()
    system.client.cancel(job)
    system.await_status(job, Status.CANCELLED)

    assert time.monotonic() - since < here(2)

    assert not is_running(child)
    assert system.events(job)[-1].message.startswith("The job was cancelled at step")
    judge(system, {job: ENDLESS}, {job: Status.CANCELLED})


@pytest.mark.faults
def test_26_the_host_is_out_of_memory(on_postgresql: System, tmp_path: Path) -> None:
    """The kernel's counter is a file of the test's, in a mount namespace of the worker's own."""
    system = on_postgresql
    counter = tmp_path / "memory.events"
    counter.write_text("oom 0\noom_kill 0\n")
    mount = f"mount -t tmpfs tmpfs /sys/fs/cgroup && ln -s {counter} /sys/fs/cgroup/memory.events"
    system.kill(system.worker)
    system.start_worker(wrapper=["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh"])
    job = system.submit(LONGER)
    system.await_epoch(job, 4)

    counter.write_text("oom 1\noom_kill 1\n")
    os.kill(system.await_child(), signal.SIGKILL)

    system.await_final(job)
    failed = system.job(job)
    assert (failed.failure_class, failed.failure_code) == ("out_of_memory", "out_of_memory")
    assert "ran out of memory" in system.story(job)
    assert "batch_size" in str(failed.failure_hint)
    judge(system, {job: LONGER}, {job: Status.FAILED})


@pytest.mark.faults
def test_29_a_spec_that_always_crashes(system: System) -> None:
    """Two crashes at the same step are enough; others go on."""
    poison = system.submit()
    other = system.submit()
    for attempt in (1, 2):
        await_true(lambda: system.job(poison).attempt == attempt and bool(system.worker.children()), 20)  # noqa: B023
        for child in system.worker.children():
            os.kill(child, signal.SIGSEGV)
        await_true(lambda: system.attempts(poison)[attempt - 1].outcome is not None, 20)  # noqa: B023

    system.await_final(poison, other)
    assert outcomes(system, poison) == [Outcome.CRASHED, Outcome.CRASHED]
    assert "It happened twice at step 0, and so it is not tried again." in system.story(poison)
    judge(system, {poison: TINY, other: TINY}, {poison: Status.FAILED})


@pytest.mark.faults
def test_30_a_loss_that_is_not_a_number(system: System) -> None:
    spec = document() | {
        "schedule": {"kind": "constant", "learning_rate": 1000.0},
        "optimizer": {"kind": "sgd", "momentum": {"form": "classical", "m": 0.99}},
        "ensemble": {"kind": "none"},
    }
    job = system.submit(spec)
    other = system.submit()

    system.await_final(job, other)
    failed = system.job(job)
    assert (failed.failure_class, failed.attempt) == ("diverged", 1)
    assert f"at step {(failed.failure_detail or {})['step']}" in system.story(job)
    judge(system, {job: spec, other: TINY}, {job: Status.FAILED})
