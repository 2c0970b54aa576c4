"""A job's history, and the same as it happens."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx

from app.store import attempts
from tests.api.conftest import Api, Finished

STREAM = {"Accept": "text/event-stream"}


def frames(answer: httpx.Response) -> Iterator[dict[str, str]]:
    """Server-sent events; comments and retry hints are left out."""
    frame: dict[str, str] = {}
    for line in answer.iter_lines():
        name, colon, value = line.partition(": ")
        if not line:
            if "data" in frame:
                yield frame
            frame = {}
        elif colon and name:
            frame[name] = value


def history(api: Api, job_id: str, **parameters: int) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get(f"/v1/jobs/{job_id}/events", params=parameters).json()
    return found


def test_history_is_numbered_and_complete(api: Api, finished: Finished) -> None:
    found = history(api, finished.id)

    assert [event["number"] for event in found["items"]] == [1, 2, 3]
    assert [event["kind"] for event in found["items"]] == ["submitted", "started", "succeeded"]
    assert found["next_after"] is None


def test_history_comes_in_pieces(api: Api, finished: Finished) -> None:
    first = history(api, finished.id, limit=2)
    rest = history(api, finished.id, after=first["next_after"])

    assert [event["number"] for event in first["items"] + rest["items"]] == [1, 2, 3]


def test_a_stream_of_a_finished_job_is_its_history_and_ends(api: Api, finished: Finished) -> None:
    with api.http.stream("GET", f"/v1/jobs/{finished.id}/events", headers=STREAM) as answer:
        found = list(frames(answer))

    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert [frame["id"] for frame in found] == ["1", "2", "3"]
    assert [json.loads(frame["data"])["kind"] for frame in found] == [frame["event"] for frame in found]


def test_a_stream_goes_on_after_the_last_event_that_was_seen(api: Api, finished: Finished) -> None:
    with api.http.stream("GET", f"/v1/jobs/{finished.id}/events", headers={**STREAM, "Last-Event-ID": "2"}) as answer:
        assert [frame["id"] for frame in frames(answer)] == ["3"]


def test_a_stream_tells_events_as_they_happen(api: Api) -> None:
    job = api.shop.submit()

    def live() -> None:
        time.sleep(0.2)
        claim = api.shop.claim()
        assert claim
        api.shop.record(claim, events=[("note", "Half way.", {})])
        api.shop.act(attempts.succeed, claim.job_id, claim.attempt)

    thread = threading.Thread(target=live)
    thread.start()
    with api.http.stream("GET", f"/v1/jobs/{job.id}/events", headers=STREAM) as answer:
        kinds = [frame["event"] for frame in frames(answer)]
    thread.join()

    assert kinds == ["submitted", "started", "note", "succeeded"]


def test_a_bad_last_event_id_is_refused(api: Api, finished: Finished) -> None:
    answer = api.http.get(f"/v1/jobs/{finished.id}/events", headers={**STREAM, "Last-Event-ID": "x"})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["header"] == "Last-Event-ID"
