"""What may happen to the API while it is asked for something."""

import threading
import time

import pytest
from sqlalchemy import func, select

from app.client import ClientError
from app.store.engine import read
from app.store.models import Job
from tests.faults.judge import judge
from tests.faults.pace import here
from tests.faults.proxy import Trap
from tests.faults.service import SECONDS, TINY
from tests.faults.system import System
from tests.servers import await_true


def count(system: System) -> int:
    with read(system.engine) as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def kill_api(system: System) -> None:
    assert system.api is not None
    system.api.kill()


def test_09_the_api_is_killed_between_commit_and_answer(system: System) -> None:
    """The client asks again with its key and gets the job that was made."""
    trap = system.front.set(Trap([b"HTTP/1.1 201"], from_client=False, then=lambda: kill_api(system)))
    submitted: list[str] = []
    client = threading.Thread(target=lambda: submitted.append(system.submit()))

    client.start()
    assert trap.sprung.wait(10)
    assert count(system) == 1
    system.start_api()
    client.join()

    assert count(system) == 1
    system.await_final(*submitted)
    judge(system, {submitted[0]: TINY})


@pytest.mark.faults
def test_09_the_api_is_killed_before_the_commit(on_postgresql: System) -> None:
    system = on_postgresql
    trap = system.database.set(Trap([b"INSERT INTO jobs", b"COMMIT"], then=lambda: kill_api(system)))
    submitted: list[str] = []
    client = threading.Thread(target=lambda: submitted.append(system.submit()))

    client.start()
    assert trap.sprung.wait(10)
    system.start_api()
    client.join()

    assert count(system) == 1
    system.await_final(*submitted)
    judge(system, {submitted[0]: TINY})


@pytest.mark.faults
def test_10_the_api_is_killed_between_commit_and_bell(system: System) -> None:
    """The sweep rings for a job that nobody has rung for."""
    system.broker.stall()
    job = system.submit()
    since = time.monotonic()
    kill_api(system)
    system.broker.heal()
    system.broker.cut()
    system.start_api()

    await_true(lambda: bool(system.attempts(job)), SECONDS)
    print(f"claimed {time.monotonic() - since:.1f} s after the submit")
    assert time.monotonic() - since < here(15)
    system.await_final(job)
    judge(system, {job: TINY})


@pytest.mark.faults
def test_an_api_that_is_away_costs_nothing_but_its_answers(system: System) -> None:
    job = system.submit()
    system.await_epoch(job, 2)
    kill_api(system)
    with pytest.raises(ClientError):
        system.client.job(job)

    system.await_final(job)
    system.start_api()
    assert system.client.job(job).status == "succeeded"
    judge(system, {job: TINY})
