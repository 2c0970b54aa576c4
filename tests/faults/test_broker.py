"""What may happen to the broker and the bells in it. SQL has the jobs."""

import time

import pytest
from sqlalchemy import update

from app.queue import Bell
from app.store.engine import write
from app.store.models import Job
from tests.faults.judge import judge
from tests.faults.pace import here
from tests.faults.service import ENDLESS, TINY
from tests.faults.system import System

AWAY_SECONDS = 60.0


def be_silent_for_long(system: System) -> None:
    """As if the last bell of every job had been rung long ago."""
    with write(system.engine) as session:
        session.execute(update(Job).values(rung_at=None))


@pytest.mark.faults
def test_11_a_bell_is_lost(system: System) -> None:
    """It waits in a broker that forgets it while the worker is busy elsewhere."""
    busy = system.submit(ENDLESS)
    system.await_epoch(busy, 1)
    system.valkey.flush()
    job = system.submit()
    system.valkey.flush()
    system.client.cancel(busy)

    system.await_final(busy, job)
    judge(system, {job: TINY})


@pytest.mark.faults
def test_12_a_bell_rings_ten_times(system: System) -> None:
    system.start_worker()
    bell = Bell(system.valkey.url)
    job = system.submit()
    for _ in range(10):
        assert bell.ring("auto")

    system.await_final(job)
    assert len(system.attempts(job)) == 1
    judge(system, {job: TINY})


@pytest.mark.faults
def test_13_the_broker_is_restarted(system: System) -> None:
    running = system.submit()
    system.await_epoch(running, 2)
    waiting = system.submit()

    system.valkey.kill()
    system.valkey.start()

    since = time.monotonic()
    system.await_final(running, waiting)
    later = system.submit()
    system.await_final(later)
    print(f"all final {time.monotonic() - since:.1f} s after the restart")
    assert len(system.attempts(running)) == 1
    judge(system, dict.fromkeys((running, waiting, later), TINY))


@pytest.mark.faults
def test_14_the_broker_is_flushed(system: System) -> None:
    jobs = [system.submit() for _ in range(3)]

    system.valkey.flush()

    system.await_final(*jobs)
    judge(system, dict.fromkeys(jobs, TINY))


@pytest.mark.faults
@pytest.mark.parametrize("how", ["refuse", "stall"])
def test_15_the_broker_is_away_for_a_minute(system: System, how: str) -> None:
    """Submits are answered, running jobs go on, idle workers find work."""
    running = system.submit(ENDLESS)
    system.await_epoch(running, 2)

    getattr(system.broker, how)()
    away_until = time.monotonic() + AWAY_SECONDS
    began = time.monotonic()
    waiting = system.submit()
    assert time.monotonic() - began < here(1)
    step = system.job(running).step
    time.sleep(1)
    assert system.job(running).step > step
    system.client.cancel(running)
    system.await_final(running, waiting)
    found = system.submit()
    be_silent_for_long(system)
    system.await_final(found)
    assert system.http.get("/readyz").json() == {
        **system.http.get("/readyz").json(),
        "ready": True,
        "broker": "unreachable",
    }
    time.sleep(max(0.0, away_until - time.monotonic()))
    system.broker.heal()
    system.broker.cut()

    after = system.submit()
    since = time.monotonic()
    system.await_final(after)
    print(f"final {time.monotonic() - since:.1f} s after the first submit to a broker that is back")
    judge(system, dict.fromkeys((waiting, found, after), TINY))
