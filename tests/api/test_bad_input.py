"""Everything that is refused: with a status, a place, a sentence, and nothing stored."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.conftest import Api, Finished
from tests.specs import document
from trainer.parsing import DEEPEST_NESTING

JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def nothing_stored(api: Api) -> Iterator[None]:
    """Whatever a test here sends, no job comes of it."""
    before = jobs(api)
    yield
    assert jobs(api) <= before | {"done", "tiny"}


def jobs(api: Api) -> set[str]:
    return {job["name"] for job in api.http.get("/v1/jobs").json()["items"]}


def refusal(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document, which never tells what is inside."""
    problem: dict[str, Any] = answer.json()
    assert answer.status_code == status, problem
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["type"].startswith("urn:annealer:problem:")
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert problem["instance"] == answer.request.url.path
    for secret in ("Traceback", "SELECT", "sqlalchemy", ".py", "site-packages", "sqlite", "postgres"):
        assert secret not in answer.text
    return problem


def post(api: Api, content: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    return api.http.post("/v1/jobs", content=content, headers={**JSON, **(headers or {})})


CYCLES = {"kind": "snapshot_cycles", "learning_rate": 0.1, "cycles": 3}


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"epochs": "four"}, "/epochs", "int_type"),
        ({"epoch": 4}, "/epoch", "unknown_key"),
        ({"network": {"kind": "transformer"}}, "/network/kind", "unknown_kind"),
        ({"epochs": 0}, "/epochs", "greater_than_equal"),
        ({"epochs": -3}, "/epochs", "greater_than_equal"),
        ({"batch_size": 10**6}, "/batch_size", "less_than_equal"),
        ({"epochs": 4, "schedule": CYCLES}, "/schedule/cycles", "not_divisible"),
        ({"ensemble": {"kind": "snapshots", "last": 3}}, "/ensemble/last", "more_than_cycles"),
        (
            {"network": {"kind": "convnet", "kernel_size": 40, "padding": 0}},
            "/network/kernel_size",
            "shape_mismatch",
        ),
        ({"network": {"kind": "convnet", "channels": [2] * 6}}, "/network/pool_size", "shape_mismatch"),
        ({"network": {"kind": "mlp", "classes": 7}}, "/network/classes", "wrong_class_count"),
        ({"batch_size": 4001}, "/batch_size", "larger_than_split"),
        ({"name": "x" * 201}, "/name", "string_too_long"),
        ({"dataset": "nothing"}, "/dataset", "unknown_dataset"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:validate"])
def test_a_bad_spec_is_refused_with_a_pointer(
    api: Api, path: str, changes: dict[str, Any], pointer: str, code: str
) -> None:
    problem = refusal(api.http.post(path, json=document(**changes)), 422)

    assert problem["type"].endswith(":spec-invalid")
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [(pointer, code)]
    assert problem["errors"][0]["detail"].endswith((".", "?"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        json.dumps(document()).replace("0.05", "NaN").encode(),
        json.dumps(document()).replace("0.05", "Infinity").encode(),
        json.dumps(document()).replace("0.05", "1e999").encode(),
        json.dumps(document()).replace('"epochs": 4', '"epochs": 4, "epochs": 8').encode(),
        b"[" * (DEEPEST_NESTING + 1),
        b'{"a":' * 600,
    ],
)
def test_what_is_no_spec_at_all_is_refused(api: Api, content: bytes) -> None:
    problem = refusal(post(api, content), 422)

    assert problem["errors"]


def test_all_mistakes_come_in_one_answer(api: Api) -> None:
    problem = refusal(api.submit(epochs=0, seed=-1, batch_size="x"), 422)

    assert problem["detail"] == "The spec has 3 mistakes; nothing was stored."


@pytest.mark.parametrize("kind", ["text/plain", "application/x-yaml", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_refused(api: Api, kind: str) -> None:
    problem = refusal(post(api, json.dumps(document()), {"Content-Type": kind}), 415)

    assert "application/json" in problem["detail"]


def test_a_charset_is_no_other_content_type(api: Api) -> None:
    answer = api.http.post(
        "/v1/jobs:validate",
        content=json.dumps(document()),
        headers={"Content-Type": "application/json; charset=utf-8"},
    )

    assert answer.status_code == 200


def test_a_body_over_the_limit_is_refused(api: Api) -> None:
    problem = refusal(post(api, b" " * 4097), 413)

    assert "4096" in problem["detail"]


def test_a_body_over_the_limit_is_refused_while_it_streams(api: Api) -> None:
    """Without Content-Length, and before the whole of it was sent."""
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(5):
            line.sendall(b"400\r\n" + b" " * 0x400 + b"\r\n")
        answer = line.recv(65536)

    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/jobs?statsu=queued", "statsu"),
        ("/v1/jobs?status=lost", "status"),
        ("/v1/jobs?limit=0", "limit"),
        ("/v1/jobs?limit=201", "limit"),
        ("/v1/jobs?limit=x", "limit"),
        ("/v1/jobs?sort=size", "sort"),
        ("/v1/jobs?cursor=xyz", "cursor"),
        ("/v1/jobs?cursor=%00", "cursor"),
        ("/v1/jobs?label=team", "label"),
        ("/v1/jobs?label=te%20am:x", "label"),
        ("/v1/jobs?name=%00", "name"),
        ("/v1/jobs?dataset=%1b", "dataset"),
        ("/v1/workers?x=1", "x"),
        ("/v1/jobs/job_x?wait=3", "wait"),
    ],
)
def test_a_bad_query_is_refused_with_its_parameter(api: Api, path: str, parameter: str) -> None:
    problem = refusal(api.http.get(path), 422)

    assert {error["parameter"] for error in problem["errors"]} == {parameter}


def test_an_unknown_parameter_is_told_with_the_known_ones(api: Api) -> None:
    problem = refusal(api.http.get("/v1/jobs?x=1"), 422)

    assert "cursor, dataset, id, kind, label, limit, name, sort, status, view" in problem["errors"][0]["detail"]


def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    for _ in range(2):
        api.shop.submit()
    cursor = api.http.get("/v1/jobs?limit=1").json()["next_cursor"]

    refusal(api.http.get("/v1/jobs", params={"cursor": cursor, "sort": "name"}), 422)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Idempotency-Key", "with space"),
        ("Idempotency-Key", ""),
        ("Idempotency-Key", "x" * 201),
    ],
)
def test_a_bad_key_is_refused_with_its_header(api: Api, header: str, value: str) -> None:
    problem = refusal(api.submit(headers={header: value}), 422)

    assert problem["errors"][0]["header"] == header


@pytest.mark.parametrize("wait", ["-1", "61", "x", "", "1.5", "٣"])
def test_a_bad_wait_is_refused_with_its_header(api: Api, wait: str) -> None:
    job = api.shop.submit()

    answer = api.http.get(f"/v1/jobs/{job.id}", headers=[(b"Prefer", f"wait={wait}".encode())])

    assert refusal(answer, 422)["errors"][0]["header"] == "Prefer"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/job_x"),
        ("GET", "/v1/jobs/job_x/events"),
        ("GET", "/v1/jobs/job_x/metrics"),
        ("GET", "/v1/jobs/job_x/snapshots"),
        ("GET", "/v1/jobs/job_x/ensemble"),
        ("POST", "/v1/jobs/job_x/cancel"),
        ("DELETE", "/v1/jobs/job_x"),
        ("GET", "/v1/snapshots/snap_x"),
        ("GET", "/v1/snapshots/snap_x/weights"),
        ("GET", "/v1/ensembles/ens_x"),
        ("GET", "/v1/datasets/nothing"),
        ("GET", "/nothing"),
    ],
)
def test_what_is_not_there_is_not_found(api: Api, method: str, path: str) -> None:
    refusal(api.http.request(method, path), 404)


def test_an_id_that_no_database_can_hold_is_refused(api: Api) -> None:
    answer = api.http.get("/v1/jobs/%00")

    assert refusal(answer, 422)["errors"][0]["parameter"] == "job_id"


def test_another_method_is_not_allowed(api: Api) -> None:
    assert refusal(api.http.put("/v1/jobs"), 405)


def test_a_move_that_is_not_allowed_says_from_where_to_where(api: Api, finished: Finished) -> None:
    problem = refusal(api.http.post(f"/v1/jobs/{finished.id}/cancel"), 409)

    assert (problem["from"], problem["to"]) == ("succeeded", "cancelled")


def test_a_job_that_is_not_finished_is_not_deleted(api: Api) -> None:
    job = api.shop.submit()

    problem = refusal(api.http.delete(f"/v1/jobs/{job.id}"), 409)

    assert (problem["from"], problem["to"]) == ("queued", "deleted")


def test_a_sane_request_id_is_kept_and_another_replaced(api: Api) -> None:
    kept = api.http.get("/nothing", headers={"X-Request-ID": "my-id.1"})
    replaced = api.http.get("/nothing", headers={"X-Request-ID": "<script>"})

    assert kept.json()["request_id"] == "my-id.1"
    assert replaced.json()["request_id"] != "<script>"


def test_an_unexpected_error_tells_nothing_of_the_inside(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("secret detail in /root/secret.py")

    monkeypatch.setattr("app.api.datasets.datasets.page", break_down)

    problem = refusal(api.http.get("/v1/datasets"), 500)

    assert "secret" not in json.dumps(problem)
