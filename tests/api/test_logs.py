"""What a job's training processes wrote, and the same as it comes."""

import json
import threading
import time
from typing import Any

import pytest

from app.store import attempts, logs
from app.store.claims import Claim
from tests.api.conftest import Api
from tests.api.test_events import STREAM, frames


def write(api: Api, claim: Claim, start: int, text: str) -> int:
    """Write as the job's worker does; where the next begins."""
    data = text.encode()
    api.shop.act(logs.append, claim.job_id, claim.attempt, 60.0, start, data, logs.FEWEST_BYTES)
    return start + len(data)


def read(api: Api, job_id: str, *, wait: int | None = None, **parameters: Any) -> dict[str, Any]:
    headers = {} if wait is None else {"Prefer": f"wait={wait}"}
    answer = api.http.get(f"/v1/jobs/{job_id}/logs", params=parameters, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def text(found: dict[str, Any]) -> str:
    return "".join(item["text"] for item in found["items"])


@pytest.fixture
def claim(api: Api) -> Claim:
    """A running job that has written three lines."""
    claim = api.shop.claimed()
    write(api, claim, 0, "one\ntwo ü\nthree\n")
    return claim


def test_the_output_is_told_with_its_attempt_and_place(api: Api, claim: Claim) -> None:
    found = read(api, claim.job_id)

    (item,) = found["items"]
    assert (item["attempt"], item["offset"], item["next_offset"]) == (1, 0, 17)
    assert item["text"] == "one\ntwo ü\nthree\n"
    assert (found["first_offset"], found["next_offset"], found["complete"]) == (0, 17, False)
    assert api.job(claim.job_id).json()["links"]["logs"] == f"/v1/jobs/{claim.job_id}/logs"


def test_it_comes_in_pieces_that_cut_no_character(api: Api, claim: Claim) -> None:
    first = read(api, claim.job_id, limit=9)
    rest = read(api, claim.job_id, offset=first["next_offset"])

    assert text(first) == "one\ntwo "
    assert text(rest) == "ü\nthree\n"


def test_the_last_lines_can_be_asked_for_and_followed(api: Api, claim: Claim) -> None:
    found = read(api, claim.job_id, tail=2)
    write(api, claim, 17, "four\n")

    assert text(found) == "two ü\nthree\n"
    assert text(read(api, claim.job_id, offset=found["next_offset"])) == "four\n"


def test_text_is_the_output_alone(api: Api, claim: Claim) -> None:
    answer = api.http.get(f"/v1/jobs/{claim.job_id}/logs", params={"format": "text", "tail": 1})

    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == "three\n"


def test_text_that_was_not_all_links_to_the_rest_of_it(api: Api, claim: Claim) -> None:
    answer = api.http.get(f"/v1/jobs/{claim.job_id}/logs", params={"format": "text", "tail": 2, "limit": 9})
    rest = api.http.get(answer.links["next"]["url"])
    api.shop.act(attempts.succeed, claim.job_id, claim.attempt)
    end = api.http.get(answer.links["next"]["url"])

    assert (answer.text, rest.text, end.text) == ("two ü\nth", "ree\n", "ree\n")
    assert "next" in rest.links
    assert "next" not in end.links


def test_a_job_that_has_written_nothing_has_an_empty_log(api: Api) -> None:
    job = api.shop.submit()

    assert read(api, job.id) == {"items": [], "next_offset": 0, "first_offset": 0, "complete": False}


def test_what_was_cut_is_told_by_the_first_offset(api: Api, claim: Claim) -> None:
    write(api, claim, 17, "x" * 100_000)

    found = read(api, claim.job_id)

    assert found["first_offset"] == found["items"][0]["offset"] > 0
    assert found["next_offset"] == 100_017


def test_a_wait_ends_with_new_output_and_not_with_other_news(api: Api, claim: Claim) -> None:
    def live() -> None:
        time.sleep(0.2)
        api.shop.record(claim, events=[("note", "Not output.", {})])
        time.sleep(0.2)
        write(api, claim, 17, "four\n")

    thread = threading.Thread(target=live)
    thread.start()
    began = time.monotonic()
    found = read(api, claim.job_id, offset=17, wait=20)
    thread.join()

    assert text(found) == "four\n"
    assert 0.35 < time.monotonic() - began < 5


def test_a_wait_ends_when_the_job_does(api: Api, claim: Claim) -> None:
    threading.Timer(0.2, api.shop.act, (attempts.succeed, claim.job_id, claim.attempt)).start()

    found = read(api, claim.job_id, offset=17, wait=20)

    assert (found["items"], found["complete"]) == ([], True)


def test_a_stream_tells_output_as_it_comes_and_ends_with_the_job(api: Api, claim: Claim) -> None:
    def live() -> None:
        time.sleep(0.2)
        write(api, claim, 17, "four\n")
        api.shop.act(attempts.succeed, claim.job_id, claim.attempt)

    thread = threading.Thread(target=live)
    thread.start()
    with api.http.stream("GET", f"/v1/jobs/{claim.job_id}/logs", headers=STREAM) as answer:
        found = list(frames(answer))
    thread.join()

    assert [json.loads(frame["data"])["text"] for frame in found] == ["one\ntwo ü\nthree\n", "four\n"]
    assert [frame["id"] for frame in found] == ["17", "22"]


def test_a_stream_goes_on_behind_what_was_seen(api: Api, claim: Claim) -> None:
    api.shop.act(attempts.succeed, claim.job_id, claim.attempt)

    with api.http.stream("GET", f"/v1/jobs/{claim.job_id}/logs", headers={**STREAM, "Last-Event-ID": "11"}) as answer:
        assert [json.loads(frame["data"])["text"] for frame in frames(answer)] == ["three\n"]


def test_tail_and_offset_together_are_refused(api: Api, claim: Claim) -> None:
    answer = api.http.get(f"/v1/jobs/{claim.job_id}/logs", params={"tail": 1, "offset": 0})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "tail"


def test_logs_of_an_unknown_job_are_not_found(api: Api) -> None:
    assert api.http.get("/v1/jobs/job_none/logs").status_code == 404
