"""A real worker process on a real broker, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.queue import Bell
from app.store import engine as engines
from tests.servers import Worker
from tests.shop import Shop


@pytest.fixture
def shop(database_url: str) -> Iterator[Shop]:
    """The store that the worker works on."""
    engine = engines.create(database_url)
    yield Shop(engine)
    engine.dispose()


@pytest.fixture
def bell(broker_url: str) -> Bell:
    """What the API rings."""
    return Bell(broker_url)


@pytest.fixture
def worker(database_url: str, broker_url: str, tmp_path: Path) -> Iterator[Worker]:
    """A worker that waits for jobs."""
    with Worker(tmp_path, database_url, broker_url) as running:
        running.await_ready()
        yield running
