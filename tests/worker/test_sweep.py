"""What a worker does every few seconds."""

from pathlib import Path

import redis
from sqlalchemy import Engine, update

from app import queue
from app.queue import Bell
from app.store.engine import write
from app.store.models import Job
from tests.shop import Shop
from worker.machine import Machine
from worker.settings import WorkerSettings
from worker.station import Station
from worker.sweep import Sweeper


def test_bells_do_not_pile_up_while_nobody_is_free_to_hear_them(
    engine: Engine, shop: Shop, broker_url: str, tmp_path: Path
) -> None:
    """Ten thousand jobs behind one that trains for a day must not fill the broker's memory with bells."""
    settings = WorkerSettings(scratch=tmp_path / "scratch")
    station = Station(engine, Bell(broker_url), settings, Machine((), 1, {"cpu": ("float32",)}))
    station.open_scratch()
    station.devices.take("cpu", 1)
    sweeper = Sweeper(station)
    for _ in range(3):
        shop.submit()

    def rung() -> int:
        """Bells that are about, once every job has been silent for long."""
        with write(engine) as session:
            session.execute(update(Job).values(rung_at=None))
        sweeper.sweep()
        with redis.Redis.from_url(broker_url) as broker:
            return int(broker.llen(queue.name("auto")))  # type: ignore[arg-type]

    assert [rung() for _ in range(4)] == [3, 3, 3, 3]
    with redis.Redis.from_url(broker_url) as broker:
        broker.delete(queue.name("auto"))
    assert rung() == 3
