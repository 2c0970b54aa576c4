"""Code and database of unlike versions: nobody works, and each says what to do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import text

from app.store import engine as engines
from app.store import migrate
from app.store.engine import write
from app.store.states import Status
from tests import servers
from tests.servers import await_true
from tests.shop import Shop
from tests.specs import document

COMPOSE = Path(__file__).parent.parent / "docker-compose.yml"


@pytest.fixture
def set_version(database_url: str) -> Iterator[Any]:
    """Makes the database look as another version's migrations would leave it."""
    engine = engines.create(database_url)

    def put(version: str) -> None:
        with write(engine) as session:
            session.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})

    yield put
    engine.dispose()


@pytest.mark.parametrize(
    ("version", "remedy"),
    [("9999", "upgrade this program, it is older than the database."), ("0001", "run `annealer migrate`.")],
    ids=["newer database", "older database"],
)
def test_neither_api_nor_worker_works_on_a_database_of_another_version(
    database_url: str, broker_url: str, tmp_path: Path, set_version: Any, version: str, remedy: str
) -> None:
    set_version(version)

    with servers.Api(tmp_path, database_url, broker_url) as api:
        answers = [
            httpx.post(f"{api.url}/v1/jobs", json=document()),
            httpx.get(f"{api.url}/v1/jobs"),
            httpx.get(f"{api.url}/v1/jobs/job_1/events", headers={"Accept": "text/event-stream"}),
        ]
        ready, alive = httpx.get(f"{api.url}/readyz"), httpx.get(f"{api.url}/healthz")
    with servers.Worker(tmp_path, database_url, broker_url) as worker:
        code = worker.wait(30)

    for answer in answers:
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:annealer:problem:schema-mismatch")
        assert answer.json()["detail"].endswith(remedy)
        assert int(answer.headers["Retry-After"]) > 0
    assert (ready.status_code, ready.json()["database"], alive.status_code) == (503, "wrong version", 200)
    assert ready.json()["detail"].endswith(remedy)
    assert code == 1
    assert worker.log.read_text().strip().endswith(remedy)


def test_the_api_serves_once_the_migrations_have_run(broker_url: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    with servers.Api(tmp_path, url, broker_url) as api:
        before = httpx.get(f"{api.url}/v1/jobs")
        migrate.upgrade(url)
        await_true(lambda: httpx.get(f"{api.url}/v1/jobs").status_code == 200, 5)

    assert before.status_code == 503


def test_a_worker_whose_database_is_upgraded_under_it_hands_its_job_back_and_ends(
    database_url: str, broker_url: str, tmp_path: Path, set_version: Any
) -> None:
    engine = engines.create(database_url)
    shop = Shop(engine)
    job = shop.submit(epochs=900, schedule={"kind": "constant", "learning_rate": 0.01}, ensemble={"kind": "none"})
    with servers.Worker(tmp_path, database_url, broker_url, sweep_seconds="0.2") as worker:
        worker.await_ready()
        with write(engine) as session:
            session.execute(text("UPDATE jobs SET rung_at = NULL"))
        await_true(lambda: shop.job(job.id).status is Status.RUNNING and shop.job(job.id).epoch > 0, 30)

        set_version("9999")
        assert worker.wait(30) == 0

    assert shop.job(job.id).status is Status.QUEUED
    assert "upgrade this program" in worker.log.read_text()
    engine.dispose()


def test_in_compose_the_migrations_run_before_api_and_worker() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]

    for name in ("api", "worker"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert services["migrate"]["command"] == ["sh", "-c", "annealer migrate && annealer keys first"]
    assert services["migrate"]["depends_on"]["postgres"] == {"condition": "service_healthy"}
