"""What may happen to a worker, to several, and to their machine."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from app.store.engine import GONE_SECONDS
from app.store.states import Outcome, Status
from tests.faults.judge import judge
from tests.faults.pace import here
from tests.faults.proxy import Trap
from tests.faults.service import ENDLESS, LONGER, SECONDS, TINY
from tests.faults.system import LEASE_SECONDS, System, is_running
from tests.servers import Worker, await_true, children

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) { const char *text = getenv("CLOCK_SHIFT"); return text ? atol(text) : 0; }

int clock_gettime(clockid_t clock, struct timespec *found) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, found);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) found->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *found) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}
"""


def two_machines(system: System) -> dict[Worker, Path]:
    """Workers that see nothing of each other, with their scratch folders, in place of the usual one."""
    system.workers.pop().stop()
    folders = [system.folder / name for name in ("machine", "another machine")]
    return {system.start_worker(scratch=str(folder)): folder for folder in folders}


def outcomes(system: System, job: str) -> list[Outcome | None]:
    return [attempt.outcome for attempt in system.attempts(job)]


def test_04_a_killed_worker_on_a_machine_that_lives(system: System) -> None:
    """Its sibling sees at once that it is gone, and does not wait for the lease."""
    system.kill(system.worker)
    for _ in range(2):
        system.start_worker(lease_seconds="60")
    job = system.submit(LONGER)
    system.await_epoch(job, 4)

    since = time.time()
    system.kill(next(worker for worker in system.workers if worker.children()))

    assert system.recovered(job, since) < here(10)
    system.await_final(job)
    assert outcomes(system, job) == [Outcome.LOST, Outcome.SUCCEEDED]
    assert "has ended without finishing its job. The job will go on from step" in system.story(job)
    judge(system, {job: LONGER})


@pytest.mark.faults
def test_04_a_machine_that_is_gone(system: System) -> None:
    """Nobody can see that its worker is dead; the lease tells."""
    machines = two_machines(system)
    job = system.submit(LONGER)
    system.await_epoch(job, 4)

    since = time.time()
    victim = next(worker for worker in machines if worker.children())
    system.kill(victim)
    shutil.rmtree(machines[victim])

    assert system.recovered(job, since) < LEASE_SECONDS + here(5)
    system.await_final(job)
    assert outcomes(system, job) == [Outcome.LOST, Outcome.SUCCEEDED]
    assert "stopped renewing its lease. The job will go on from step" in system.story(job)
    judge(system, {job: LONGER})


@pytest.mark.faults
def test_04_a_machine_that_is_gone_in_the_middle_of_a_transaction(on_postgresql: System) -> None:
    """The database has not heard of its end, and yet keeps its locks no longer than a transaction may rest."""
    system = on_postgresql
    two_machines(system)

    def be_gone() -> None:
        system.kill(next(worker for worker in system.workers if worker.children()))

    trap = system.database.set(Trap([b"INSERT INTO epochs"], unheard=True, then=be_gone))
    job = system.submit(LONGER)
    assert trap.sprung.wait(SECONDS)
    since = time.time()

    assert system.recovered(job, since) < GONE_SECONDS + here(5)
    system.await_final(job)
    assert outcomes(system, job) == [Outcome.LOST, Outcome.SUCCEEDED]
    judge(system, {job: LONGER})


@pytest.mark.faults
def test_05_a_worker_that_is_told_to_stop(system: System) -> None:
    job = system.submit(LONGER)
    system.await_epoch(job, 4)
    stopped = system.workers.pop()

    began = time.monotonic()
    assert stopped.stop(15) == 0

    print(f"drained in {time.monotonic() - began:.1f} s")
    assert outcomes(system, job) == [Outcome.RELEASED]
    system.start_worker()
    system.await_final(job)
    assert "The training was stopped and handed back; it will go on from step" in system.story(job)
    judge(system, {job: LONGER})


@pytest.mark.faults
def test_06_two_sigterms(system: System) -> None:
    """The second does not wait for a checkpoint. The job goes on from the one before."""
    job = system.submit(LONGER)
    system.await_epoch(job, 4)
    os.kill(system.await_child(), signal.SIGSTOP)
    stopped = system.workers.pop()

    stopped.signal(signal.SIGTERM)
    time.sleep(0.5)
    began = time.monotonic()
    stopped.signal(signal.SIGTERM)
    stopped.wait(3)

    print(f"ended {time.monotonic() - began:.1f} s after the second")
    system.start_worker()
    system.await_final(job)
    judge(system, {job: LONGER})


def test_07_a_worker_that_was_stopped_past_its_lease_writes_nothing(system: System) -> None:
    system.start_worker()
    job = system.submit(LONGER)
    system.await_epoch(job, 4)
    stopped = next(worker for worker in system.workers if worker.children())

    system.freeze(stopped)
    since = time.time()
    assert system.recovered(job, since) < LEASE_SECONDS + here(5)
    stopped.signal(signal.SIGCONT)

    system.await_final(job)
    assert outcomes(system, job) == [Outcome.LOST, Outcome.SUCCEEDED]
    assert "stopped renewing its lease." in system.story(job)
    await_true(lambda: stopped.children() == [], SECONDS)
    judge(system, {job: LONGER})


@pytest.mark.faults
def test_08_the_whole_process_group_is_killed(system: System) -> None:
    """The child, in a group of its own, ends with its supervisor, even one that hangs."""
    job = system.submit(LONGER)
    system.await_epoch(job, 4)
    child = system.await_child()
    os.kill(child, signal.SIGSTOP)
    victim = system.workers.pop()

    since = time.time()
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait(5)
    await_true(lambda: not is_running(child), SECONDS)
    system.start_worker()

    assert system.recovered(job, since) < here(10)
    system.await_final(job)
    judge(system, {job: LONGER})


@pytest.mark.faults
def test_08_the_fork_server_is_killed(system: System) -> None:
    """Its children go with it; the worker starts another one."""
    job = system.submit(LONGER)
    system.await_epoch(job, 4)
    (server,) = (pid for pid in system.processes() if system.worker.children()[0] in children(pid))

    since = time.time()
    os.kill(server, signal.SIGKILL)

    assert system.recovered(job, since) < here(10)
    system.await_final(job)
    judge(system, {job: LONGER})


@pytest.mark.faults
@pytest.mark.skipif(shutil.which("cc") is None, reason="a C compiler is needed to shift the clock")
@pytest.mark.parametrize("hours", [-1, 1])
def test_24_a_worker_whose_clock_is_an_hour_off(on_postgresql: System, tmp_path: Path, hours: int) -> None:
    """It does not lose its own jobs, takes nobody else's, and its own are rescued in time."""
    system = on_postgresql
    library = tmp_path / "clock.so"
    source = tmp_path / "clock.c"
    source.write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    job = system.submit(ENDLESS)
    system.await_epoch(job, 2)
    shifted = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(hours * 3600)}
    off = system.start_worker(environment=shifted)
    other = system.submit(LONGER)
    system.await_epoch(other, 2)
    assert outcomes(system, job) == [None]

    system.client.cancel(job)
    assert off.children()
    since = time.time()
    system.kill(off)

    assert system.recovered(other, since) < LEASE_SECONDS + here(5)
    system.await_final(job, other)
    assert outcomes(system, job) == [Outcome.CANCELLED]
    assert outcomes(system, other) == [Outcome.LOST, Outcome.SUCCEEDED]
    judge(system, {job: ENDLESS, other: LONGER}, {job: Status.CANCELLED})


@pytest.mark.faults
def test_31_two_workers_and_random_kills(system: System) -> None:
    """A short one of what the storm does for minutes."""
    dice = random.Random(31)
    system.start_worker()
    jobs = [system.submit() for _ in range(10)]
    for _ in range(4):
        time.sleep(dice.uniform(0.5, 1.5))
        victim = dice.choice(system.workers)
        system.kill(victim)
        system.start_worker()

    system.await_final(*jobs)
    judge(system, dict.fromkeys(jobs, TINY))


@pytest.mark.faults
def test_32_every_part_is_restarted_while_jobs_run(system: System) -> None:
    system.start_worker()
    jobs = [system.submit(LONGER) for _ in range(4)]
    system.await_epoch(jobs[0], 2)

    for worker in [*system.workers]:
        worker.stop(15)
        system.workers.remove(worker)
        system.start_worker()
    assert system.api is not None
    system.api.stop()
    system.start_api()
    system.valkey.stop()
    system.valkey.start()
    if system.postgres:
        system.postgres.stop()
        time.sleep(0.5)
        system.postgres.start()

    system.await_final(*jobs)
    judge(system, dict.fromkeys(jobs, LONGER))
