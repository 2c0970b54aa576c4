"""Predictions of data sets and exports over HTTP: asked for, refused with the reason, fetched."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.store import attempts, blobs, wishes
from app.store.claims import Claim
from app.store.files import NewFile
from app.store.models import Snapshot
from tests.api.conftest import Api
from tests.reports import measured
from trainer.parsing import parse_as
from trainer.spec.exporting import ExportSpec
from trainer.spec.prediction import PredictionSpec


@pytest.fixture
def snapshot(api: Api) -> str:
    """Id of a snapshot of a training that has succeeded."""
    return api.shop.snapshots(api.shop.trained())[0]


def ensemble(api: Api, **changes: Any) -> str:
    """Id of an ensemble that is scored."""
    ids = api.shop.snapshots(api.shop.trained())
    made = api.shop.ensemble(ids, **changes)
    claim = api.shop.claim()
    assert claim is not None
    api.shop.record(claim, measured=measured(ids, [0.75, 0.25]))
    api.shop.act(attempts.succeed, claim.job_id, claim.attempt)
    return made.id


def finish(api: Api, folder: Path, *names: str) -> Claim:
    """Do what a worker does: the next job makes files of these names, with their names in them."""
    claim = api.shop.claim()
    assert claim is not None
    made = []
    for name in names:
        (folder / name).write_text(name)
        made.append(NewFile(name, "text/plain", len(name), blobs.put(api.shop.engine, folder / name)))
    api.shop.record(claim, files=made)
    api.shop.act(attempts.succeed, claim.job_id, claim.attempt)
    return claim


def wrong(answer: httpx.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(place["pointer"], place["code"]) for place in answer.json()["errors"]]


def test_a_job_predicts_a_data_set_and_its_table_is_fetched(api: Api, tmp_path: Path) -> None:
    id = ensemble(api)

    answer = api.http.post(f"/v1/ensembles/{id}/batch-predict", json={"dataset": "mnist5k", "labels": {"for": "me"}})

    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["Location"] == job["links"]["self"]
    assert (job["kind"], job["status"], job["labels"]) == ("prediction", "queued", {"for": "me"})
    assert [one["weight"] for one in job["spec"]["model"]["members"]] == [0.75, 0.25]
    assert api.http.get(job["links"]["files"]).json() == {"items": []}
    claim = finish(api, tmp_path, "predictions.csv")
    assert (claim.job_id, [ref.id for ref in claim.snapshots]) == (
        job["id"],
        [one["snapshot_id"] for one in job["spec"]["model"]["members"]],
    )
    (file,) = api.http.get(job["links"]["files"]).json()["items"]
    assert (file["name"], file["size"]) == ("predictions.csv", len("predictions.csv"))
    fetched = api.http.get(file["url"], headers={"Range": "bytes=0-4"})
    assert (fetched.status_code, fetched.text) == (206, "predi")
    assert fetched.headers["ETag"] == f'"{file["sha256"]}"'
    assert fetched.headers["Content-Disposition"] == 'attachment; filename="predictions.csv"'
    assert api.http.get(f"{file['url']}x").status_code == 404


def test_the_same_key_asks_once(api: Api, snapshot: str) -> None:
    asked = [
        api.http.post(
            f"/v1/snapshots/{snapshot}/batch-predict", json={"dataset": "mnist5k"}, headers={"Idempotency-Key": "k"}
        )
        for _ in range(2)
    ]

    api.shop.act(lambda session: session.delete(session.get_one(Snapshot, snapshot)))
    later = api.http.post(
        f"/v1/snapshots/{snapshot}/batch-predict", json={"dataset": "mnist5k"}, headers={"Idempotency-Key": "k"}
    )

    assert [answer.status_code for answer in (*asked, later)] == [201, 200, 200]
    assert {answer.json()["id"] for answer in (*asked, later)} == {asked[0].json()["id"]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("/dataset", "missing")]),
        ({"dataset": "none"}, [("/dataset", "unknown_dataset")]),
        ({"dataset": "gaussian"}, [("/dataset", "wrong_shape")]),
        ({"dataset": "mnist5k", "splits": ["test"]}, [("/splits", "missing_split")]),
        ({"dataset": "mnist5k", "format": "xls"}, [("/format", "unknown_choice")]),
        ({"dataset": "mnist5k", "model": {}}, [("/model", "unknown_key")]),
    ],
)
def test_what_cannot_be_predicted_is_refused_with_its_place(
    api: Api, snapshot: str, body: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert wrong(api.http.post(f"/v1/snapshots/{snapshot}/batch-predict", json=body)) == expected
    assert api.http.get("/v1/jobs", params={"kind": "prediction"}).json()["items"] == []


def test_an_export_is_made_once_and_lies_at_its_address(api: Api, tmp_path: Path) -> None:
    here = f"/v1/ensembles/{ensemble(api)}/export"
    before = api.http.get(here)

    first = api.http.post(here)
    waiting = api.http.get(here)
    again = api.http.post(here, json={"format": "onnx"})
    finish(api, tmp_path, "annealer.json", "model.onnx")
    after = api.http.post(here)
    file = api.http.get(here, params={"format": "onnx"})

    assert (before.status_code, before.json()["type"]) == (404, "urn:annealer:problem:not-exported")
    assert (first.status_code, first.json()["kind"]) == (201, "export")
    assert (waiting.status_code, waiting.json()["type"]) == (409, "urn:annealer:problem:not-ready")
    assert int(waiting.headers["Retry-After"]) > 0
    assert [(one.status_code, one.json()["id"]) for one in (again, after)] == [(200, first.json()["id"])] * 2
    assert (file.status_code, file.text) == (200, "model.onnx")
    assert file.headers["Content-Disposition"].endswith('.onnx"')
    assert api.http.get(here, params={"format": "safetensors"}).status_code == 404


def test_an_export_that_failed_is_made_again(api: Api, snapshot: str) -> None:
    here = f"/v1/snapshots/{snapshot}/export"
    first = api.http.post(here).json()
    api.shop.act(wishes.cancel, first["id"])

    second = api.http.post(here)

    assert second.status_code == 201
    assert second.json()["id"] != first["id"]


def test_a_vote_is_not_exported(api: Api) -> None:
    refused = api.http.post(f"/v1/ensembles/{ensemble(api, combine='majority_vote')}/export")

    assert (refused.status_code, refused.json()["type"]) == (409, "urn:annealer:problem:not-exportable")
    assert "no probabilities" in refused.json()["detail"]


@pytest.mark.parametrize("path", ["batch-predict", "export"])
def test_what_is_not_scored_or_not_there_is_told(api: Api, path: str) -> None:
    unscored = api.shop.ensemble(api.shop.snapshots(api.shop.trained()))

    answers = [
        api.http.post(f"/v1/{model}/{path}", json={"dataset": "mnist5k"} if path == "batch-predict" else {})
        for model in (f"ensembles/{unscored.id}", "ensembles/ens_none", "snapshots/snap_none")
    ]

    assert [answer.status_code for answer in answers] == [409, 404, 404]


def test_what_an_unfinished_job_needs_is_not_deleted(api: Api, snapshot: str) -> None:
    training = api.http.get(f"/v1/snapshots/{snapshot}").json()["job_id"]
    job = api.http.post(f"/v1/snapshots/{snapshot}/export").json()["id"]

    refused = api.http.delete(f"/v1/jobs/{training}")
    api.shop.act(wishes.cancel, job)
    deleted = api.http.delete(f"/v1/jobs/{training}")

    assert (refused.status_code, refused.json()["needed_by"]) == (409, [job])
    assert deleted.status_code == 204
    assert api.http.get(f"/v1/jobs/{job}").json()["status"] == "cancelled"


def test_the_documents_examples_are_what_can_be_asked(api: Api) -> None:
    paths = api.http.get("/openapi.json").json()["paths"]

    for path, spec in (("batch-predict", PredictionSpec), ("export", ExportSpec)):
        body = paths[f"/v1/ensembles/{{ensemble_id}}/{path}"]["post"]["requestBody"]["content"]["application/json"]
        assert body["schema"] == {"$ref": f"#/components/schemas/{spec.__name__}"}
        for example in body["examples"].values():
            assert parse_as(spec, json.dumps(example["value"]))
