"""Pause, resume, retry, turns and limits over HTTP."""

from typing import Any

import httpx
import pytest

from app.settings import Settings
from app.store import attempts
from app.store.reports import Failure
from app.store.states import FailureClass
from tests.api.conftest import Api, Finished, served
from tests.specs import document


def ask(api: Api, job_id: str, wish: str, **arguments: Any) -> httpx.Response:
    return api.http.post(f"/v1/jobs/{job_id}/{wish}", **arguments)


def failed(api: Api) -> str:
    claim = api.shop.claimed()
    why = Failure(FailureClass.USER, "data_invalid", "The data set is another.")
    api.shop.act(attempts.fail, claim.job_id, claim.attempt, why)
    return claim.job_id


def test_a_job_is_paused_and_resumed_as_often_as_one_likes(api: Api) -> None:
    job = api.submit().json()

    answers = [ask(api, job["id"], wish) for wish in ("pause", "pause", "resume", "resume")]

    assert [answer.json()["status"] for answer in answers] == ["paused", "paused", "queued", "queued"]
    assert answers[-1].headers["ETag"] == f'"{answers[-1].json()["version"]}"'
    assert answers[1].json()["version"] == answers[0].json()["version"]


def test_a_running_job_says_that_it_is_to_be_paused(api: Api) -> None:
    claim = api.shop.claimed()

    answer = ask(api, claim.job_id, "pause")

    assert (answer.json()["status"], answer.json()["wanted"]) == ("running", "pause")


@pytest.mark.parametrize("wish", ["pause", "resume", "retry"])
def test_what_a_finished_job_does_not_allow_is_refused_with_what_it_does(
    api: Api, finished: Finished, wish: str
) -> None:
    answer = ask(api, finished.id, wish)

    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (409, "urn:annealer:problem:move-refused")
    assert (problem["from"], problem["allowed"]) == ("succeeded", ["delete"])
    assert "Allowed now: delete." in problem["detail"]


def test_a_job_of_another_priority_is_taken_in_its_new_turn(api: Api) -> None:
    first, second = api.submit().json(), api.submit(name="hurried").json()

    answer = api.http.patch(f"/v1/jobs/{second['id']}", json={"priority": 5})
    again = api.http.patch(f"/v1/jobs/{second['id']}", json={"priority": 5})

    assert (answer.status_code, answer.json()["priority"], answer.json()["queue_position"]) == (200, 5, 1)
    assert answer.headers["ETag"] == again.headers["ETag"] != f'"{second["version"]}"'
    assert answer.json()["spec"] == second["spec"]
    assert api.http.get(f"/v1/jobs/{first['id']}").json()["queue_position"] == 2
    told = [event["message"] for event in api.http.get(f"/v1/jobs/{second['id']}/events").json()["items"]]
    assert told.count("The user changed the priority from 0 to 5.") == 1
    claim = api.shop.claim()
    assert claim is not None
    assert claim.job_id == second["id"]


def test_the_priority_of_a_finished_job_is_not_changed(api: Api, finished: Finished) -> None:
    answer = api.http.patch(f"/v1/jobs/{finished.id}", json={"priority": 5})

    assert (answer.status_code, answer.json()["type"]) == (409, "urn:annealer:problem:move-refused")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"priority": 101}, "/priority"),
        ({}, "/priority"),
        ({"priority": 1, "name": "x"}, "/name"),
        ({"priority": "high"}, "/priority"),
    ],
)
def test_a_change_that_is_not_valid_is_refused_with_the_place(api: Api, body: dict[str, Any], pointer: str) -> None:
    job = api.submit().json()

    answer = api.http.patch(f"/v1/jobs/{job['id']}", json=body)

    assert answer.status_code == 422
    assert [place["pointer"] for place in answer.json()["errors"]] == [pointer]
    assert api.http.get(f"/v1/jobs/{job['id']}").json()["priority"] == 0


@pytest.mark.parametrize("body", [None, {}, {"from": "checkpoint"}, {"from": "start"}])
def test_a_failed_job_is_retried(api: Api, body: dict[str, str] | None) -> None:
    job_id = failed(api)

    answer = ask(api, job_id, "retry", json=body) if body is not None else ask(api, job_id, "retry")

    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.json()["error"], answer.json()["finished_at"]) == ("queued", None, None)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"from": "here"}', "/from"),
        (b'{"form": "start"}', "/form"),
        (b'{"from": "start", "from": "checkpoint"}', ""),
        (b'{"from": "\\ud800"}', "/from"),
        (b"[" * 2000, ""),
        (b"[]", ""),
        (b"{", ""),
        (b"\xff", ""),
    ],
)
def test_a_retry_from_elsewhere_is_refused_with_the_place(api: Api, body: bytes, pointer: str) -> None:
    answer = ask(api, failed(api), "retry", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert [place["pointer"] for place in answer.json()["errors"]] == [pointer]
    assert '{"from": "start"}' in answer.json()["detail"]


def test_a_retry_that_is_no_json_is_refused(api: Api) -> None:
    answer = ask(api, failed(api), "retry", content=b"from=start", headers={"Content-Type": "text/plain"})

    assert answer.status_code == 415


@pytest.mark.parametrize("wish", ["pause", "resume", "retry"])
def test_a_job_that_is_not_there_is_not_found(api: Api, wish: str) -> None:
    assert ask(api, "job_x", wish).status_code == 404


def test_a_job_has_an_owner_a_turn_and_limits(api: Api) -> None:
    mine = api.submit(headers={"Annealer-Owner": "team-a"}, priority=7, max_runtime=3600, max_attempts=2).json()
    plain = api.submit().json()

    assert [mine[name] for name in ("owner", "priority", "max_runtime", "max_attempts")] == ["team-a", 7, 3600, 2]
    assert [plain[name] for name in ("owner", "priority", "max_runtime", "max_attempts")] == ["default", 0, None, 5]
    assert (mine["queue_position"], plain["queue_position"]) == (1, 2)
    assert mine["spec_sha256"] == plain["spec_sha256"]


def test_an_owner_without_a_proper_name_is_refused(api: Api) -> None:
    answer = api.submit(headers={"Annealer-Owner": "-"})

    assert answer.status_code == 422
    assert "header" in answer.json()["errors"][0]


def test_a_full_queue_is_said_with_the_time_to_wait(sqlite_url: str, broker_url: str) -> None:
    settings = Settings(database_url=sqlite_url, broker_url=broker_url, max_queued=1, keys="off")
    with served(settings) as (url, _), httpx.Client(base_url=url) as http:
        headers = {"Idempotency-Key": "first"}
        first = http.post("/v1/jobs", json=document(), headers=headers)
        refused = http.post("/v1/jobs", json=document())
        again = http.post("/v1/jobs", json=document(), headers=headers)

    assert (first.status_code, refused.status_code, again.status_code) == (201, 429, 201)
    assert refused.json()["type"] == "urn:annealer:problem:queue-full"
    assert int(refused.headers["Retry-After"]) > 0


def test_an_address_that_asks_too_often_is_told_how_long_to_wait(sqlite_url: str, broker_url: str) -> None:
    settings = Settings(database_url=sqlite_url, broker_url=broker_url, requests_per_minute=3, keys="off")
    with served(settings) as (url, _), httpx.Client(base_url=url) as http:
        answers = [http.get("/v1/datasets") for _ in range(4)]
        health = http.get("/healthz")

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"address";q=3;w=60'
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0"]
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 60
    problem = answers[3].json()
    assert (problem["type"], problem["request_id"]) == (
        "urn:annealer:problem:too-many-requests",
        answers[3].headers["X-Request-ID"],
    )
    assert health.status_code == 200


def test_without_a_limit_nothing_is_said_of_one(api: Api) -> None:
    assert "RateLimit" not in api.http.get("/v1/datasets").headers
