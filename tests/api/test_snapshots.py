"""Snapshots, their files, and ensembles over HTTP."""

import json
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file
from sqlalchemy import update

from app.api.downloads import byte_range
from app.errors import Problem
from app.store import blobs
from app.store.engine import write
from app.store.models import BlobChunk, Ensemble
from app.store.reports import NewSnapshot
from tests.api.conftest import Api, Finished
from tests.specs import document
from trainer import header
from trainer.events import Scores
from trainer.parsing import parse


def snapshots(api: Api, finished: Finished) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = api.http.get(f"/v1/jobs/{finished.id}/snapshots").json()["items"]
    return items


def weights(api: Api, finished: Finished, method: str = "GET", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.http.request(method, snapshots(api, finished)[0]["weights"], headers=named)


def test_snapshots_are_listed_with_scores_and_provenance(api: Api, finished: Finished) -> None:
    found = snapshots(api, finished)

    assert [one["number"] for one in found] == [1, 2, 3]
    assert found[0]["scores"] == {"accuracy": 0.75, "error": 0.25, "negative_log_likelihood": 0.5}
    assert found[0]["provenance"]["n"] == 1
    assert found[0]["size"] == len(finished.weights)
    assert api.http.get(f"/v1/snapshots/{found[0]['id']}").json() == found[0]


def test_the_file_is_what_was_stored_under_its_hash(api: Api, finished: Finished) -> None:
    answer = weights(api, finished)

    assert answer.status_code == 200
    assert answer.content == finished.weights
    assert answer.headers["ETag"] == f'"{sha256(finished.weights).hexdigest()}"'
    assert answer.headers["Content-Length"] == str(len(finished.weights))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert ".safetensors" in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    ("range", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1048570-1048580", 1048570, 1048581),
        ("bytes=-5", -5, None),
        ("bytes=2499990-", 2499990, None),
    ],
)
def test_a_part_of_the_file_can_be_asked_for(
    api: Api, finished: Finished, range: str, start: int, end: int | None
) -> None:
    answer = weights(api, finished, Range=range)

    assert answer.status_code == 206
    assert answer.content == finished.weights[start:end]
    first = start % len(finished.weights)
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(answer.content) - 1}/{len(finished.weights)}"


@pytest.mark.parametrize("range", ["bytes=2500000-", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(api: Api, finished: Finished, range: str) -> None:
    answer = weights(api, finished, Range=range)

    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */2500000"


@pytest.mark.parametrize("range", ["bytes=5-2", "lines=1-2", "bytes=0-1,5-6", "bytes=-", "x"])
def test_a_range_that_is_none_is_ignored(api: Api, finished: Finished, range: str) -> None:
    assert weights(api, finished, Range=range).status_code == 200


def test_a_range_of_a_file_that_has_changed_is_the_whole_file(api: Api, finished: Finished) -> None:
    etag = f'"{sha256(finished.weights).hexdigest()}"'

    assert weights(api, finished, Range="bytes=0-9", If_Range=etag).status_code == 206
    assert weights(api, finished, Range="bytes=0-9", If_Range='"other"').status_code == 200


def test_a_file_that_the_client_has_is_not_sent_again(api: Api, finished: Finished) -> None:
    answer = weights(api, finished, If_None_Match=f'"{sha256(finished.weights).hexdigest()}"')

    assert (answer.status_code, answer.content) == (304, b"")


def test_head_tells_the_size_alone(api: Api, finished: Finished) -> None:
    answer = weights(api, finished, "HEAD")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(finished.weights))


def test_a_missing_chunk_ends_the_transfer(api: Api, finished: Finished) -> None:
    with write(api.shop.engine) as session:
        session.query(BlobChunk).filter(BlobChunk.position == 1).delete()

    with pytest.raises(httpx.RemoteProtocolError):
        weights(api, finished)


@given(st.integers(1, 1000), st.integers(0, 1200), st.integers(0, 1200))
def test_a_range_is_what_slicing_says(size: int, first: int, last: int) -> None:
    header = f"bytes={first}-{last}"
    if last < first:
        assert byte_range(header, size) is None
    elif first >= size:
        with pytest.raises(Problem):
            byte_range(header, size)
    else:
        start, end = byte_range(header, size) or (0, 0)
        assert list(range(size))[start:end] == list(range(size))[first : last + 1]


def test_the_ensemble_stands_beside_its_members_and_the_single_model(api: Api, finished: Finished) -> None:
    found = api.http.get(f"/v1/jobs/{finished.id}/ensemble").json()

    assert found["scores"]["accuracy"] == 0.8
    assert found["single"]["accuracy"] == 0.75
    assert found["geometric_mean"] == {"accuracy": 0.78, "error": 0.22, "negative_log_likelihood": 0.41}
    assert found["majority_vote"] == {"accuracy": 0.76, "error": 0.24}
    assert (found["kind"], found["averaged"]) == ("snapshots", None)
    assert [(member["number"], member["weight"]) for member in found["members"]] == [(2, 0.5), (3, 0.5)]
    assert api.http.get(f"/v1/ensembles/{found['id']}").json() == found


def test_an_ensemble_of_before_there_were_other_combinations_is_shown_without_them(
    api: Api, finished: Finished
) -> None:
    blank = {"geometric_mean_accuracy": None, "majority_vote_accuracy": None}
    with write(api.shop.engine) as session:
        session.execute(update(Ensemble).where(Ensemble.job_id == finished.id).values(blank))

    found = api.http.get(f"/v1/jobs/{finished.id}/ensemble").json()

    assert (found["geometric_mean"], found["majority_vote"]) == (None, None)
    assert found["scores"]["accuracy"] == 0.8


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "it is queued"),
        ({"ensemble": {"kind": "none"}}, "its spec asks for none"),
    ],
)
def test_no_ensemble_is_said_with_the_reason(api: Api, changes: dict[str, Any], why: str) -> None:
    job = api.shop.submit(**changes)

    answer = api.http.get(f"/v1/jobs/{job.id}/ensemble")

    assert answer.status_code == 404
    assert why in answer.json()["detail"]


def test_the_first_layer_is_a_picture(api: Api, tmp_path: Path) -> None:
    spec = parse(json.dumps(document(network={"kind": "mlp", "hidden": [9]})))
    provenance = {"spec": spec.model_dump(mode="json"), "classes": list("0123456789"), "input_shape": [1, 28, 28]}
    path = tmp_path / "weights"
    weights = np.zeros((9, 784), np.float32)
    weights[4, 0] = 1
    save_file({"hidden1.weight": weights}, path, header.written(provenance))
    stored = blobs.put(api.shop.engine, path)
    claim = api.shop.claimed()
    api.shop.record(claim, snapshots=[NewSnapshot(1, 1, 10, Scores(0.9, 0.1, 0.3), provenance, stored)])
    (snapshot,) = api.shop.snapshots(claim)

    answer = api.http.get(f"/v1/snapshots/{snapshot}/filters.png")
    known = api.http.get(f"/v1/snapshots/{snapshot}/filters.png", headers={"If-None-Match": answer.headers["ETag"]})

    pixels = np.asarray(Image.open(BytesIO(answer.content)))
    assert (answer.status_code, answer.headers["Content-Type"], known.status_code) == (200, "image/png", 304)
    # Nine tiles of 28 pixels, twice as large, a pixel of background around each.
    assert pixels.shape == (2 * (3 * 29 + 1), 2 * (3 * 29 + 1))
    assert sorted(set(pixels.ravel().tolist())) == [128, 255]
    assert (pixels == 255)[60:62, 60:62].all()


def test_a_file_that_is_no_picture_is_said(api: Api, finished: Finished) -> None:
    (first, *_) = api.http.get(f"/v1/jobs/{finished.id}/snapshots").json()["items"]

    answer = api.http.get(f"/v1/snapshots/{first['id']}/filters.png")

    assert (answer.status_code, answer.json()["type"]) == (409, "urn:annealer:problem:no-filters")
