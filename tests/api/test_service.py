"""What is there beside jobs: data sets, workers, health, the document that describes it all."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from app.store import workers
from tests import servers
from tests.api.conftest import Api, Finished
from tests.servers import Valkey
from tests.specs import document
from trainer.offer import Offer

# What fits the schema may still be refused: one field makes demands of another, and an id may name nothing.
# And this server asks for no keys.
UNTRUE_HERE = [positive_data_acceptance, ignored_auth]


def test_data_sets_are_listed(api: Api) -> None:
    noise, found = api.http.get("/v1/datasets").json()["items"]

    assert (noise["name"], noise["shape"]) == ("gaussian", [1, 20, 25])
    assert (found["name"], found["shape"], len(found["classes"])) == ("mnist5k", [1, 28, 28], 10)
    assert (found["train_count"], found["validation_count"]) == (4000, 1000)
    assert api.http.get("/v1/datasets/mnist5k").json() == found


def test_workers_are_listed(api: Api) -> None:
    def beat(session: Any) -> None:
        workers.beat(
            session,
            id="work_1",
            host="box",
            pid=7,
            device="cpu",
            slots=2,
            version="1",
            offers={"cpu": Offer(8, frozenset({"bfloat16", "float32"}))},
        )

    api.shop.act(beat)

    (found,) = api.http.get("/v1/workers").json()["items"]
    assert (found["id"], found["host"], found["slots"], found["alive"]) == ("work_1", "box", 2, True)
    assert found["offers"] == {"cpu": {"devices": 8, "precisions": ["bfloat16", "float32"]}}


def test_answers_carry_careful_headers(api: Api) -> None:
    headers = api.http.get("/healthz").headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_a_ready_service_says_so(api: Api) -> None:
    answer = api.http.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "database": "ok", "broker": "ok", "detail": None}


def test_a_broker_that_is_away_refuses_no_job(
    sqlite_url: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Valkey(tmp_path_factory.mktemp("gone")) as broker:
        url = broker.url
    with servers.Api(tmp_path, sqlite_url, url) as api, httpx.Client(base_url=api.url) as http:
        answer = http.post("/v1/jobs", json=document())
        ready = http.get("/readyz")

    assert answer.status_code == 201
    assert (ready.status_code, ready.json()["broker"]) == (200, "unreachable")
    assert ready.json()["detail"].startswith("The broker cannot be reached")
    assert "broker is away" in api.log.read_text()


def test_a_database_that_is_away_is_a_503_with_retry_after(broker_url: str, tmp_path: Path) -> None:
    url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    with servers.Api(tmp_path, url, broker_url) as api, httpx.Client(base_url=api.url) as http:
        answer, ready, health = http.get("/v1/jobs"), http.get("/readyz"), http.get("/healthz")

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["type"].endswith(":database-unavailable")
    assert (ready.status_code, ready.json()["database"]) == (503, "unreachable")
    assert int(ready.headers["Retry-After"]) > 0
    assert health.status_code == 200


def test_a_database_at_another_version_is_not_ready_and_says_what_to_run(broker_url: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'empty.sqlite'}"
    with servers.Api(tmp_path, url, broker_url) as api:
        ready = httpx.get(f"{api.url}/readyz")

    assert ready.status_code == 503
    assert ready.json()["database"] == "wrong version"
    assert "annealer migrate" in ready.json()["detail"]


def test_the_app_imports_no_torch(tmp_path: Path) -> None:
    code = "import sys, app.main, app.cli, app.client, app.embedded; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_document_describes_the_spec_and_every_refusal(api: Api) -> None:
    described = api.http.get("/openapi.json").json()

    schemas = described["components"]["schemas"]
    body = described["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/TrainingSpec"}
    assert body["examples"]
    assert {"ConvNet", "SnapshotCycles", "ProblemView", "JobView"} <= set(schemas)
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], path
            assert path in ("/healthz", "/readyz", "/metrics") or "503" in operation["responses"], (method, path)
    references = set(_references(described))
    assert {reference.rpartition("/")[2] for reference in references} <= set(schemas)


def test_whatever_is_sent_to_it_the_service_behaves_as_its_document_says(api: Api, finished: Finished) -> None:
    schema = schemathesis.openapi.from_url(f"{api.url}/openapi.json")
    deadline = time.monotonic() + 40

    for result in schema.get_all_operations():
        cases = result.ok().as_strategy()

        @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(cases)
        def call(case: Any) -> None:
            if time.monotonic() < deadline:
                case.call_and_validate(base_url=api.url, timeout=10, excluded_checks=UNTRUE_HERE)

        call()


def _references(node: Any) -> Any:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
