"""Servers and databases that tests share, each started once a session."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before torch is imported: networks here are so small that several threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from sqlalchemy import Engine

from tests import servers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a GPU are left out, with the reason, where there is none."""
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu:
            item.add_marker(pytest.mark.skip(reason="torch finds no CUDA device here"))


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL server."""
    with servers.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """An up-to-date database of each kind, made at its first use, for others to be copied from."""
    made: dict[str, servers.Template] = {}

    def template(kind: str) -> servers.Template:
        if kind not in made:
            url = request.getfixturevalue("postgresql_url") if kind == "postgresql" else None
            made[kind] = servers.Template(kind, tmp_path_factory.mktemp(kind), url)
        return made[kind]

    return template


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(
    request: pytest.FixtureRequest, migrated: Callable[[str], servers.Template], tmp_path: Path
) -> Iterator[str]:
    """An empty, up-to-date database of a test's own."""
    with migrated(request.param).copy(tmp_path) as url:
        yield url


@pytest.fixture
def sqlite_url(migrated: Callable[[str], servers.Template], tmp_path: Path) -> Iterator[str]:
    """The same on SQLite only, for tests whose subject is not the database."""
    with migrated("sqlite").copy(tmp_path) as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a database of a test's own."""
    from app.store import engine as engines

    made = engines.create(database_url)
    yield made
    made.dispose()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Valkey]:
    """A Valkey server."""
    with servers.Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3]:
    """An object storage, which this process and those that it starts find by its environment."""
    server = servers.S3(tmp_path_factory.mktemp("s3"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
    server.stop()


@pytest.fixture
def broker_url(valkey: servers.Valkey) -> str:
    """An empty broker."""
    valkey.flush()
    return valkey.url
