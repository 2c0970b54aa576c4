"""What the API says for the dashboard's sake: lines of a list, a job in a stream, what runs where, specs in YAML."""

import json

import yaml

from app.store import workers
from tests.api.conftest import Api, Finished
from tests.specs import document
from trainer.offer import Offer

YAML = {"Content-Type": "application/yaml"}


def epoch(number: int, accuracy: float) -> dict[str, float]:
    """A finished epoch as a worker reports it."""
    losses = {"train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 1.0}
    pace = {"learning_rate": 0.1, "images_per_second": 1000.0, "seconds": 0.5}
    return {"epoch": number, "step": number * 10, "validation_accuracy": accuracy, **losses, **pace}


def test_a_summary_is_a_line_without_the_spec(api: Api, finished: Finished) -> None:
    (line,) = api.http.get("/v1/jobs", params={"view": "summary"}).json()["items"]
    (full,) = api.http.get("/v1/jobs").json()["items"]

    assert "spec" not in line
    assert {key: full[key] for key in line.keys() & full.keys()} == {
        key: line[key] for key in line.keys() & full.keys()
    }
    assert (line["validation_accuracy"], line["validation_accuracies"]) == (0.75, [0.75] * 4)


def test_the_small_curve_of_a_long_training_has_few_points_and_the_newest(api: Api) -> None:
    claim = api.shop.claimed(epochs=100)

    api.shop.record(claim, epochs=[epoch(number, number / 1000) for number in range(1, 51)])

    (line,) = api.http.get("/v1/jobs", params={"view": "summary"}).json()["items"]
    assert line["validation_accuracies"] == [number / 1000 for number in (*range(3, 49, 3), 50)]
    assert line["validation_accuracy"] == 0.05


def test_a_job_without_an_epoch_has_no_curve(api: Api) -> None:
    api.submit()

    (line,) = api.http.get("/v1/jobs", params={"view": "summary"}).json()["items"]

    assert (line["validation_accuracy"], line["validation_accuracies"]) == (None, [])


def test_only_the_jobs_that_are_asked_for_are_listed(api: Api) -> None:
    first, second, _ = (api.submit().json()["id"] for _ in range(3))

    found = api.http.get("/v1/jobs", params={"id": [first, second, "job_none"]}).json()["items"]

    assert [job["id"] for job in found] == [second, first]


def test_a_stream_tells_the_job_itself_when_it_is_asked_to(api: Api, finished: Finished) -> None:
    def kinds(**asked: str) -> list[str]:
        headers = {"Accept": "text/event-stream"}
        text = api.http.get(f"/v1/jobs/{finished.id}/events", params=asked, headers=headers).text
        frames = [frame for frame in text.split("\n\n") if "data: " in frame]
        last = dict(line.split(": ", 1) for line in frames[-1].splitlines())
        if asked:
            assert "id" not in last
            assert json.loads(last["data"]) == api.job(finished.id).json()
        return [frame.partition("event: ")[2].partition("\n")[0] for frame in frames]

    assert kinds(job="true") == [*kinds(), "job"]


def test_workers_say_what_runs_where(api: Api) -> None:
    offers = {"cpu": Offer(1, frozenset({"float32"}))}
    worker = {"id": "work_1", "host": "box", "pid": 7, "device": "cpu", "slots": 1, "version": "1", "offers": offers}
    api.shop.act(lambda session: workers.beat(session, **worker, memory={"cpu": (3, 8)}))
    claim = api.shop.claimed(name="runs there")
    for device in ("auto", "auto", "cuda"):
        api.shop.submit(device=device)

    answer = api.http.get("/v1/workers").json()

    assert answer["waiting"] == {"auto": 2, "cuda": 1}
    (found,) = answer["items"]
    assert (found["running"], found["drained"], found["memory"]) == (1, False, {"cpu": {"used": 3, "total": 8}})
    (running,) = found["jobs"]
    assert (running["job_id"], running["name"], running["attempt"]) == (claim.job_id, "runs there", 1)


def test_a_spec_in_yaml_is_the_same_as_in_json(api: Api) -> None:
    plain = api.submit().json()

    answer = api.http.post("/v1/jobs", content=yaml.safe_dump(document()), headers=YAML)

    assert answer.status_code == 201
    assert answer.json()["spec_sha256"] == plain["spec_sha256"]


def test_warnings_of_a_spec_in_yaml_have_their_lines(api: Api) -> None:
    spec = {**document(), "network": {"kind": "mlp", "initialization": {"kind": "constant", "value": 0.0}}}
    text = yaml.safe_dump(spec, sort_keys=False)

    warnings = api.http.post("/v1/jobs:validate", content=text, headers=YAML).json()["warnings"]
    without = api.http.post("/v1/jobs:validate", json=spec).json()["warnings"]

    assert warnings
    assert {warning["line"] for warning in without} == {None}
    for warning in warnings:
        assert warning["pointer"].rpartition("/")[2] in text.splitlines()[warning["line"] - 1]
