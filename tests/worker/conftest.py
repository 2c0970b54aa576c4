"""Real worker processes on a real broker, on both databases."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import torch
from sqlalchemy import Engine

from app import queue
from app.queue import Bell
from app.store import engine as engines
from app.store.engine import write
from tests.servers import Template, Valkey, Worker
from tests.shop import Shop, clear
from tests.specs import spec
from tests.worker.watching import LONG, Undisturbed
from trainer import data
from trainer.events import EpochFinished, SnapshotTaken
from trainer.snapshot import write as write_snapshot
from trainer.train import train


class Plant:
    """A database, a broker with its bell, and a worker that waits for jobs; `settings` are the worker's."""

    def __init__(self, folder: Path, database_url: str, **settings: str) -> None:
        self.folder = folder
        self._database_url = database_url
        self._settings = settings
        self.valkey = Valkey(folder)
        self.shop = Shop(engines.create(database_url))
        self.bell = Bell(self.valkey.url)
        self.worker = self.another()
        self.worker.await_ready()

    @property
    def engine(self) -> Engine:
        """The database's engine."""
        return self.shop.engine

    def another(self) -> Worker:
        """One more worker."""
        return Worker(self.folder, self._database_url, self.valkey.url, **self._settings)

    def unheard(self, device: str) -> int:
        """How many bells nobody has heard yet."""
        with redis.Redis.from_url(self.valkey.url) as broker:
            return int(broker.llen(queue.name(device)))  # type: ignore[arg-type]

    def close(self) -> None:
        """End it all."""
        self.worker.stop()
        self.valkey.stop()
        self.engine.dispose()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def shared(
    request: pytest.FixtureRequest,
    migrated: Callable[[str], Template],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Plant]:
    """A plant for all tests that leave its worker alive, on each database."""
    folder = tmp_path_factory.mktemp("plant")
    with migrated(request.param).copy(folder) as database_url:
        plant = Plant(folder, database_url)
        yield plant
        plant.close()


@pytest.fixture
def plant(shared: Plant) -> Iterator[Plant]:
    """The shared plant without any jobs."""
    yield shared
    with write(shared.engine) as session:
        clear(session)


@pytest.fixture
def own_plant(database_url: str, tmp_path: Path) -> Iterator[Plant]:
    """A plant of a test's own, to be broken."""
    plant = Plant(tmp_path, database_url)
    yield plant
    plant.close()


@pytest.fixture
def shop(engine: Engine) -> Shop:
    """The store on a database of a test's own, without a worker."""
    return Shop(engine)


@pytest.fixture
def hasty_plant(database_url: str, tmp_path: Path) -> Iterator[Plant]:
    """The same, with a worker that may take three seconds to stop, its trainings two."""
    plant = Plant(tmp_path, database_url, grace_seconds="3")
    yield plant
    plant.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The snapshot files and validation losses of the long spec, trained here without any service."""
    path = tmp_path_factory.mktemp("undisturbed") / "file"
    found, losses = [], []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for event in train(spec(**LONG), data.load("mnist5k"), device=torch.device("cpu")):
            if isinstance(event, SnapshotTaken):
                write_snapshot(path, event.weights, event.provenance)
                found.append(path.read_bytes())
            if isinstance(event, EpochFinished):
                losses.append(event.validation_loss)
    finally:
        torch.set_num_threads(threads)
    return found, losses
