"""Submit, list, poll, cancel, delete over HTTP."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from sqlalchemy.orm import Session

from app.store import attempts, workers
from app.store.reports import Failure, Progress
from app.store.states import FailureClass, Phase
from tests.api.conftest import Api, Finished
from tests.servers import await_true
from tests.specs import document, spec
from trainer.offer import Offer


def count(api: Api) -> int:
    return len(api.http.get("/v1/jobs").json()["items"])


def names(api: Api, **parameters: Any) -> list[str]:
    """Names of all jobs, page by page as the Link header says."""
    found: list[str] = []
    answer = api.http.get("/v1/jobs", params=parameters)
    while True:
        assert answer.status_code == 200, answer.text
        found += [job["name"] for job in answer.json()["items"]]
        if "next" not in answer.links:
            assert answer.json()["next_cursor"] is None
            return found
        answer = api.http.get(answer.links["next"]["url"])


def test_a_submit_is_answered_with_the_whole_job_and_where_it_is(api: Api) -> None:
    answer = api.submit(name="mine", labels={"team": "a"})

    job = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["ETag"] == f'"{job["version"]}"'
    assert (job["status"], job["name"], job["labels"], job["queue_position"]) == ("queued", "mine", {"team": "a"}, 1)
    assert job["spec"] == spec(name="mine", labels={"team": "a"}).model_dump(mode="json")
    assert job["progress"] == {
        "epoch": 0,
        "epochs": 4,
        "step": 0,
        "steps": 128,
        "fraction": 0,
        "images_per_second": None,
        "expected_end": None,
    }
    assert api.job(job["id"]).json() == job


def test_a_submit_rings_the_bell_for_its_device(api: Api, broker_url: str) -> None:
    api.submit(device="cpu")

    with redis.Redis.from_url(broker_url) as broker:
        await_true(lambda: broker.llen("work.cpu") == 1, 5)


def test_the_same_key_and_body_give_the_same_job(api: Api) -> None:
    headers = {"Idempotency-Key": "abc"}

    first, again = api.submit(headers=headers), api.submit(headers=headers)

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert count(api) == 1


def test_the_same_key_with_another_body_is_refused(api: Api) -> None:
    headers = {"Idempotency-Key": "abc"}
    api.submit(headers=headers)

    answer = api.submit(headers=headers, name="other")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["header"] == "Idempotency-Key"
    assert count(api) == 1


def test_many_submits_with_one_key_make_one_job(api: Api) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: api.submit(headers={"Idempotency-Key": "k"}), range(16)))

    statuses = {answer.status_code for answer in answers}
    assert statuses <= {201, 409}
    assert 201 in statuses
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert count(api) == 1


def test_validating_stores_nothing_and_tells_the_plan(api: Api) -> None:
    answer = api.http.post("/v1/jobs:validate", json=document(network={"kind": "convnet", "channels": [8]}))

    plan = answer.json()
    assert answer.status_code == 200
    assert plan["layers"][0] == {
        "index": 0,
        "name": "conv1",
        "kind": "Convolution",
        "input_shape": [1, 28, 28],
        "output_shape": [8, 28, 28],
        "weight_shape": [8, 1, 3, 3],
        "weights": 72,
        "biases": 8,
        "multiply_adds": 72 * 28 * 28,
        "activations": 28 * 28,
    }
    assert plan["activations"] == sum(layer["activations"] for layer in plan["layers"])
    assert plan["memory_bytes"]["weights"] == 4 * plan["parameters"]
    assert plan["memory_bytes"]["activations"] == 4 * 128 * plan["activations"]
    assert plan["parameters"] == sum(layer["weights"] + layer["biases"] for layer in plan["layers"])
    assert (plan["steps_per_epoch"], plan["steps"], plan["snapshot_epochs"]) == (32, 128, [2, 4])
    assert len(plan["learning_rates"]) == 5
    assert plan["step_multiply_adds"] == 3 * 128 * plan["multiply_adds"]
    assert plan["warmup_epochs"] == 0
    rates = {point["epoch"]: point["rate"] for point in plan["curve"]}
    assert (rates[0], rates[1], rates[2]) == (0.05, 0.025, 0.05)
    assert plan["curve"][-1]["epoch"] == pytest.approx(4)
    assert plan["spec"]["batch_size"] == 128
    assert count(api) == 0


def test_validating_warns(api: Api) -> None:
    answer = api.http.post("/v1/jobs:validate", json=document(ensemble={"kind": "none"}))

    assert [warning["code"] for warning in answer.json()["warnings"]] == ["unused_snapshots"]


def worker(api: Api, id: str, *, devices: int = 1, **precisions: list[str]) -> None:
    """A live one, on its GPUs where it has any."""
    offers = {kind: Offer(devices, frozenset(names)) for kind, names in precisions.items()}
    device = "cuda" if "cuda" in offers else "cpu"
    offers["auto"] = offers[device]

    def act(session: Session) -> None:
        workers.beat(session, id=id, host="h", pid=1, device=device, slots=1, version="1", offers=offers)

    api.shop.act(act)


HALF = {"precision": "bfloat16"}


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:validate"])
def test_a_precision_that_no_live_worker_has_is_refused_with_reason_and_remedy(api: Api, path: str) -> None:
    worker(api, "work_1", cpu=["float32"])
    worker(api, "work_2", cpu=["float16", "float32"])

    answer = api.http.post(path, json=document(device="cpu", execution=HALF))

    assert answer.status_code == 422
    (place,) = answer.json()["errors"]
    assert (place["pointer"], place["code"]) == ("/execution/precision", "precision_unavailable")
    assert "No CPU here has fast arithmetic in bfloat16" in place["detail"]
    assert "use float16 or float32, or train on a device that has bfloat16" in place["detail"]
    assert count(api) == 0


def test_more_devices_than_any_live_worker_has_are_refused(api: Api) -> None:
    before = api.submit(devices=4)
    worker(api, "work_1", devices=2, cpu=["float32"])

    answer = api.submit(devices=4)

    assert (before.status_code, answer.status_code) == (201, 422)
    (place,) = answer.json()["errors"]
    assert (place["pointer"], place["code"]) == ("/devices", "too_many_devices")
    assert place["detail"] == "This asks for 4 devices, and at most 2 can be had here; use fewer."


def test_a_precision_that_one_live_worker_has_is_accepted(api: Api) -> None:
    worker(api, "work_1", cpu=["float32"])
    worker(api, "work_2", cpu=["float32"], cuda=["bfloat16", "float32"])

    accepted = [api.submit(device=device, execution=HALF).status_code for device in ("auto", "cuda", "cpu")]

    assert accepted == [201, 201, 422]


def test_a_precision_is_accepted_with_a_warning_while_no_worker_of_the_kind_lives(api: Api) -> None:
    worker(api, "work_1", cpu=["float32"])
    asked = document(device="cuda", execution=HALF, epochs=20)

    plan = api.http.post("/v1/jobs:validate", json=asked)

    assert [warning["code"] for warning in plan.json()["warnings"]] == ["unknown_support"]
    assert api.http.post("/v1/jobs", json=asked).status_code == 201


def test_a_repeated_submit_gets_its_job_though_the_workers_have_changed(api: Api) -> None:
    key = {"Idempotency-Key": "once"}
    first = api.submit(headers=key, execution=HALF)
    worker(api, "work_1", cpu=["float32"])

    again = api.submit(headers=key, execution=HALF)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["id"] == first.json()["id"]
    assert api.submit(execution=HALF).status_code == 422


def test_jobs_are_listed_in_pages(api: Api) -> None:
    for name in ("b", "a", "c"):
        api.submit(name=name, labels={"first": name})

    assert names(api) == ["c", "a", "b"]
    assert names(api, limit=1) == ["c", "a", "b"]
    assert names(api, limit=2, sort="name") == ["a", "b", "c"]
    assert names(api, name="B") == ["b"]
    assert names(api, label="first:c") == ["c"]
    assert names(api, label=["first:c", "first:a"]) == []
    assert names(api, status=["queued", "running"], dataset="mnist5k", limit=1) == ["c", "a", "b"]
    assert names(api, status="failed") == []


def test_an_unchanged_job_is_not_sent_again(api: Api) -> None:
    job = api.submit().json()

    answer = api.job(job["id"], If_None_Match=f'"{job["version"]}"')

    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == f'"{job["version"]}"'
    assert api.job(job["id"], If_None_Match='"999", W/"998"').status_code == 200


def test_a_wait_ends_when_the_job_changes(api: Api) -> None:
    job = api.submit().json()
    changed_at = []

    def change() -> None:
        time.sleep(0.3)
        api.shop.claim()
        changed_at.append(time.monotonic())

    thread = threading.Thread(target=change)
    thread.start()
    answer = api.job(job["id"], If_None_Match=f'"{job["version"]}"', Prefer="wait=15")
    answered_at = time.monotonic()
    thread.join()

    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    assert answer.headers["Preference-Applied"] == "wait=15"
    assert answered_at - changed_at[0] < 5


def test_a_wait_without_news_ends_unchanged(api: Api) -> None:
    job = api.submit().json()
    began = time.monotonic()

    answer = api.job(job["id"], If_None_Match=f'"{job["version"]}"', Prefer="respond-async, wait=1")

    assert answer.status_code == 304
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("prefer", ["wait=0", "return=minimal"])
def test_no_wait_is_no_wait(api: Api, prefer: str) -> None:
    job = api.submit().json()

    assert api.job(job["id"], Prefer=prefer).status_code == 200


def test_a_finished_job_is_not_waited_for(api: Api, finished: Finished) -> None:
    version = api.job(finished.id).headers["ETag"]

    assert api.job(finished.id, If_None_Match=version, Prefer="wait=60").status_code == 304


def test_many_who_wait_are_one_query_a_tick(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from app import notify

    asked = []
    ask = notify.jobs.versions

    def counted(session: Any, ids: Any) -> Any:
        asked.append(list(ids))
        return ask(session, ids)

    monkeypatch.setattr(notify.jobs, "versions", counted)
    first, second = api.submit().json(), api.submit().json()
    with ThreadPoolExecutor(20) as pool:
        waits = [
            pool.submit(api.job, job["id"], If_None_Match=f'"{job["version"]}"', Prefer="wait=2")
            for job in (first, second) * 10
        ]
        await_true(lambda: any(len(ids) == 2 for ids in asked), 5)
        asked.clear()
        time.sleep(0.5)
        ticks = len(asked)
        api.shop.claim()
        api.shop.claim()
        answers = [wait.result() for wait in waits]

    assert {answer.status_code for answer in answers} == {200}
    assert 1 <= ticks <= 0.5 / 0.04 + 2
    assert all(len(ids) <= 2 for ids in asked)


def test_progress_and_speed_are_told_while_a_job_runs(api: Api) -> None:
    claim = api.shop.claimed()
    api.shop.record(claim, phase=Phase.TRAINING, progress=Progress(2, 20, 256.0))

    job = api.job(claim.job_id).json()

    assert (job["status"], job["phase"], job["queue_position"]) == ("running", "training", None)
    progress = job["progress"]
    assert (progress["epoch"], progress["step"], progress["fraction"]) == (2, 20, 0.5)
    assert progress["images_per_second"] == 256.0
    assert progress["expected_end"] is not None


def test_a_failed_job_tells_why(api: Api) -> None:
    claim = api.shop.claimed()
    why = Failure(FailureClass.DIVERGED, "loss_not_finite", "The loss became nan.", {"epoch": 3}, "Lower it.", 99)
    api.shop.act(attempts.fail, claim.job_id, claim.attempt, why)

    job = api.job(claim.job_id).json()

    assert job["status"] == "failed"
    assert job["error"] == {
        "class": "diverged",
        "code": "loss_not_finite",
        "message": "The loss became nan.",
        "detail": {"epoch": 3, "step": 99},
        "hint": "Lower it.",
    }


def test_a_queued_job_is_cancelled_and_cancelling_again_is_fine(api: Api) -> None:
    job = api.submit().json()

    first, again = (api.http.post(f"{job['links']['self']}/cancel") for _ in range(2))

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["status"] == again.json()["status"] == "cancelled"


def test_a_running_job_is_marked_to_be_cancelled(api: Api) -> None:
    claim = api.shop.claimed()

    answer = api.http.post(f"/v1/jobs/{claim.job_id}/cancel")

    assert (answer.json()["status"], answer.json()["wanted"]) == ("running", "cancel")


def test_a_finished_job_is_deleted_and_then_not_there(api: Api, finished: Finished) -> None:
    assert api.http.delete(f"/v1/jobs/{finished.id}").status_code == 204

    assert api.job(finished.id).status_code == 404
    assert api.http.delete(f"/v1/jobs/{finished.id}").status_code == 404
