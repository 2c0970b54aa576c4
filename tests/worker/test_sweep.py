"""What a worker does every few seconds."""

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, update
from sqlalchemy.exc import OperationalError

from app import queue
from app.queue import Bell
from app.store import workers
from app.store.engine import write
from app.store.models import Job
from app.store.states import Status
from app.store.sweep import needing_bell
from tests.shop import Shop
from worker.machine import Machine
from worker.settings import WorkerSettings
from worker.station import Station
from worker.sweep import Sweeper


@pytest.fixture
def station(engine: Engine, broker_url: str, tmp_path: Path) -> Station:
    settings = WorkerSettings(scratch=tmp_path / "scratch")
    station = Station(engine, Bell(broker_url), settings, Machine((), 1, {"cpu": ("float32",)}))
    station.open_scratch()
    return station


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Station]:
    """Who has looked for work of its own accord; without running any."""
    looked: list[Station] = []
    monkeypatch.setattr("worker.sweep.work", looked.append)
    return looked


def sweep(station: Station) -> None:
    """One round, with all that it began."""
    Sweeper(station).sweep()
    settle()


def settle() -> None:
    """Wait for what sweeps have begun."""
    for thread in threading.enumerate():
        if thread.name in ("work", "retention"):
            thread.join()


def rung(station: Station, broker_url: str) -> int:
    """Bells that are about after a sweep, once every job has been silent for long."""
    with write(station.engine) as session:
        session.execute(update(Job).values(rung_at=None))
    sweep(station)
    with redis.Redis.from_url(broker_url) as broker:
        return int(broker.llen(queue.name("auto")))  # type: ignore[arg-type]


def test_an_idle_worker_rings_for_jobs_that_have_waited_and_looks_for_them_itself(
    station: Station, shop: Shop, broker_url: str, found: list[Station]
) -> None:
    for _ in range(3):
        shop.submit()

    assert rung(station, broker_url) == 3
    assert found == [station]


def test_bells_that_nobody_has_heard_are_not_rung_again(
    station: Station, shop: Shop, broker_url: str, found: list[Station]
) -> None:
    """A worker that is free for a moment after each of many jobs must not ring for all others every time."""
    for _ in range(3):
        shop.submit()

    assert [rung(station, broker_url) for _ in range(3)] == [3, 3, 3]
    shop.submit()
    assert rung(station, broker_url) == 4


def test_an_idle_worker_looks_for_a_job_that_others_ring_for_and_are_too_busy_to_take(
    station: Station, shop: Shop, broker_url: str, found: list[Station]
) -> None:
    job = shop.submit()
    sweep(station)
    assert not found
    with write(station.engine) as session:
        session.execute(update(Job).values(created_at=job.created_at - timedelta(minutes=1)))

    sweep(station)

    assert found == [station]
    with redis.Redis.from_url(broker_url) as broker:
        assert broker.llen(queue.name("auto")) == 0


def test_a_worker_looks_for_as_many_jobs_as_it_has_free_slots(
    engine: Engine, broker_url: str, tmp_path: Path, shop: Shop, found: list[Station]
) -> None:
    settings = WorkerSettings(scratch=tmp_path / "scratch", slots=3)
    station = Station(engine, Bell(broker_url), settings, Machine((), 1, {"cpu": ("float32",)}))
    station.open_scratch()
    station.devices.take("cpu", 1)
    for _ in range(5):
        shop.submit()

    assert rung(station, broker_url) == 5
    assert found == [station] * 2


def test_bells_do_not_pile_up_while_nobody_is_free_to_hear_them(
    station: Station, shop: Shop, broker_url: str, found: list[Station]
) -> None:
    """Ten thousand jobs behind one that trains for a day must not fill the broker's memory with bells."""
    shop.submit()
    station.devices.take("cpu", 1)

    assert rung(station, broker_url) == 0
    assert not found


def test_a_drained_worker_leaves_waiting_jobs_to_those_that_can_take_them(
    station: Station, shop: Shop, broker_url: str, found: list[Station]
) -> None:
    """It would count them as rung for, and hide them from the others."""
    shop.submit()
    sweep(station)
    shop.act(lambda session: workers.drain(session, station.id, is_drained=True))

    assert rung(station, broker_url) == 0
    assert not found
    assert [job_id for job_id, _ in shop.act(needing_bell, 0.0, station.offers)]


def test_once_the_database_is_back_the_workers_of_lost_leases_have_the_time_to_come_back(
    engine: Engine, broker_url: str, tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = WorkerSettings(scratch=tmp_path / "scratch", sweep_seconds=0.01)
    station = Station(engine, Bell(broker_url), settings, Machine((), 1, {"cpu": ("float32",)}))
    station.open_scratch()
    job_id = shop.claimed(lease=-1).job_id
    rounds = iter([True, False, False])

    def away_at_first(_: Engine) -> None:
        is_away = next(rounds, None)
        if is_away:
            raise OperationalError("", {}, Exception("connection refused"))
        if is_away is None:
            station.draining.set()

    monkeypatch.setattr("worker.sweep.migrate.check_schema", away_at_first)
    Sweeper(station).run()
    settle()
    assert shop.job(job_id).status is Status.RUNNING

    sweep(station)
    assert shop.job(job_id).status is Status.QUEUED


@pytest.mark.parametrize("asks", [{"device": "cuda"}, {"devices": 1000}])
def test_a_worker_does_not_ring_for_devices_that_it_has_not(
    asks: dict[str, Any], station: Station, shop: Shop, broker_url: str, found: list[Station]
) -> None:
    shop.submit(**asks)

    assert rung(station, broker_url) == 0
    with redis.Redis.from_url(broker_url) as broker:
        assert broker.llen(queue.name("cuda")) == 0
    assert not found
