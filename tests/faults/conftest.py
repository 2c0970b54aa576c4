"""A system of each kind, made at its first use and healed before each test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.faults.postgres import Postgres
from tests.faults.system import System
from tests.servers import Template

Systems = Callable[[str], System]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They wait for leases and restarts, and so may take longer than others."""
    for item in items:
        if item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def systems(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systems]:
    """The system on each kind of database, at its first use. PostgreSQL is our own, since it is going to be stopped."""
    made: dict[str, System] = {}
    with ExitStack() as running:

        def of(kind: str) -> System:
            if kind not in made:
                folder = tmp_path_factory.mktemp(kind)
                postgres = running.enter_context(Postgres()) if kind == "postgresql" else None
                template = Template(kind, folder, postgres.url if postgres else None)
                made[kind] = running.enter_context(System(folder, template, postgres))
            return made[kind]

        yield of


def _healed(systems: Systems, kind: str) -> System:
    system = systems(kind)
    system.heal()
    return system


@pytest.fixture(params=["postgresql", pytest.param("sqlite", marks=pytest.mark.faults)])
def system(request: pytest.FixtureRequest, systems: Systems) -> System:
    """The system on each kind of database, with one worker; in the quick part of the tests on PostgreSQL only."""
    return _healed(systems, request.param)


@pytest.fixture
def on_postgresql(systems: Systems) -> System:
    """The system on PostgreSQL."""
    return _healed(systems, "postgresql")


@pytest.fixture
def on_sqlite(systems: Systems) -> System:
    """The system on SQLite."""
    return _healed(systems, "sqlite")
