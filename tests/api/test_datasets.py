"""`/v1/datasets` and `/v1/uploads`: what comes in, and what becomes of it, without a worker."""

from hashlib import sha256
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from app.store import attempts, datasets
from app.store.engine import read
from app.store.models import Blob, Dataset, DatasetFile, Upload, UploadPart
from app.store.reports import Failure
from app.store.states import FailureClass
from tests.api.conftest import Api
from tests.specs import dataset as random_images
from tests.specs import document
from trainer.datasets.bundled import describe

PART = 64 * 1024
CONTENT = bytes(index % 251 for index in range(2 * PART + 100))
NAMED = {"source": {"kind": "named", "name": "mnist"}}


def announce(api: Api, content: bytes = CONTENT, **headers: str) -> httpx.Response:
    asked = {"name": "pets.zip", "size": len(content), "sha256": sha256(content).hexdigest()}
    return api.http.post("/v1/uploads", json=asked, headers=headers)


def send(api: Api, upload: dict[str, Any], number: int, content: bytes = CONTENT) -> httpx.Response:
    part = content[(number - 1) * PART : number * PART]
    headers = {"Content-Type": "application/octet-stream"}
    return api.http.put(f"/v1/uploads/{upload['id']}/parts/{number}", content=part, headers=headers)


def uploaded(api: Api) -> dict[str, Any]:
    upload = announce(api).json()
    for number in upload["missing"]:
        assert send(api, upload, number).status_code == 200
    return upload


def of_upload(upload: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"name": "pets", "source": {"kind": "upload", "upload": upload["id"]}} | changes


def rows(api: Api) -> dict[str, int]:
    with read(api.shop.engine) as session:
        tables = (Upload, UploadPart, DatasetFile, Blob)
        return {table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


def pack(api: Api, job_id: str) -> str:
    """What a worker does for an import; the hash of what it has made."""
    claim = api.shop.claim()
    assert claim is not None
    assert claim.job_id == job_id
    found = describe(random_images())
    api.shop.record(claim, manifest=found.model_dump(mode="json"))
    api.shop.act(attempts.succeed, claim.job_id, claim.attempt)
    return found.sha256


def fail(api: Api, failure: Failure) -> None:
    claim = api.shop.claim()
    assert claim is not None
    api.shop.act(attempts.fail, claim.job_id, claim.attempt, failure)


REFUSED = Failure(
    FailureClass.USER,
    "data_refused",
    "train/cat/000.png: It is damaged. And 1 more.",
    {"findings": [{"entry": "train/cat/000.png", "code": "damaged", "detail": "It is damaged."}], "count": 2},
)


def test_an_upload_goes_on_where_it_was(api: Api) -> None:
    upload = announce(api)
    assert (upload.status_code, upload.json()["missing"]) == (201, [1, 2, 3])
    send(api, upload.json(), 2)
    send(api, upload.json(), 2)

    again = announce(api)

    assert (again.status_code, again.json()["id"]) == (200, upload.json()["id"])
    assert again.json()["missing"] == [1, 3]
    assert again.json()["received"] == PART
    assert api.http.get(f"/v1/uploads/{upload.json()['id']}").json() == again.json()


def test_a_part_of_another_size_is_refused(api: Api) -> None:
    upload = announce(api).json()
    address = f"/v1/uploads/{upload['id']}/parts"
    headers = {"Content-Type": "application/octet-stream"}

    assert (
        api.http.put(f"{address}/3", content=b"short", headers=headers).json()["detail"].endswith("100 bytes, not 5.")
    )
    assert api.http.put(f"{address}/3", content=bytes(101), headers=headers).status_code == 413
    assert api.http.put(f"{address}/4", content=b"x", headers=headers).status_code == 422
    assert rows(api)["upload_parts"] == 0


def test_more_than_uploads_may_be_is_refused(api: Api) -> None:
    asked = {"name": "x", "size": 10**15, "sha256": "0" * 64}

    assert api.http.post("/v1/uploads", json=asked).json()["type"].endswith("upload-too-large")
    answers = [
        api.http.post("/v1/uploads", json=asked | {"size": 60 * 2**30 + n, "sha256": f"{n:064}"}) for n in range(5)
    ]

    assert [answer.status_code for answer in answers] == [201, 201, 201, 201, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0


def test_a_data_set_is_made_of_an_upload_and_the_upload_is_gone(api: Api) -> None:
    upload = uploaded(api)

    asked = api.http.post("/v1/datasets", json=of_upload(upload))
    waiting = api.http.post("/v1/jobs:validate", json=document(dataset="pets"))
    job_id = asked.json()["links"]["job"].rpartition("/")[2]
    known = pack(api, job_id)

    assert (asked.status_code, asked.json()["status"], asked.headers["Location"]) == (
        202,
        "importing",
        "/v1/datasets/pets",
    )
    assert waiting.json()["errors"][0]["code"] == "dataset_not_ready"
    found = api.http.get("/v1/datasets/pets").json()
    assert (found["status"], found["sha256"], found["id"]) == ("ready", known, f"data_{known[:32]}")
    assert found["splits"]["train"]["count"] == 40
    assert len(found["mean"]) == 1
    assert rows(api) == {"uploads": 0, "upload_parts": 0, "dataset_files": 0, "blobs": 0}
    for name in ("pets", found["id"]):
        assert api.http.post("/v1/jobs:validate", json=document(dataset=name, batch_size=10)).status_code == 200


def test_the_same_data_by_the_same_name_is_the_same_data_set(api: Api) -> None:
    first = api.http.post("/v1/datasets", json=NAMED).json()
    pack(api, first["links"]["job"].rpartition("/")[2])

    again = api.http.post("/v1/datasets", json=NAMED)
    other = api.http.post("/v1/datasets", json=NAMED | {"options": {"channels": 3}})
    renamed = api.http.post("/v1/datasets", json=NAMED | {"name": "digits"}).json()
    pack(api, renamed["links"]["job"].rpartition("/")[2])

    assert (again.status_code, again.json()["status"]) == (200, "ready")
    assert (other.status_code, other.json()["type"]) == (409, "urn:annealer:problem:name-taken")
    assert api.http.get("/v1/datasets/digits").json()["id"] == again.json()["id"]


def test_refused_content_is_a_problem_with_the_names_of_entries_and_leaves_nothing(api: Api) -> None:
    api.http.post("/v1/datasets", json=of_upload(uploaded(api)))

    fail(api, REFUSED)

    found = api.http.get("/v1/datasets/pets").json()
    assert found["status"] == "failed"
    assert (found["error"]["status"], found["error"]["type"]) == (422, "urn:annealer:problem:data-refused")
    assert [(place["entry"], place["code"]) for place in found["error"]["errors"]] == [("train/cat/000.png", "damaged")]
    assert rows(api) == {"uploads": 0, "upload_parts": 0, "dataset_files": 0, "blobs": 0}


def test_a_kept_upload_serves_another_try_under_the_same_name(api: Api) -> None:
    upload = uploaded(api)
    api.http.post("/v1/datasets", json=of_upload(upload, keep_upload=True))
    fail(api, REFUSED)

    again = api.http.post("/v1/datasets", json=of_upload(upload, options={"size": [8, 8]}))

    assert (again.status_code, again.json()["status"]) == (202, "importing")
    pack(api, again.json()["links"]["job"].rpartition("/")[2])
    assert rows(api)["uploads"] == 0


def test_an_upload_that_is_not_whole_cannot_be_imported(api: Api) -> None:
    upload = announce(api).json()
    send(api, upload, 1)

    answer = api.http.post("/v1/datasets", json=of_upload(upload))

    assert (answer.status_code, answer.json()["type"]) == (409, "urn:annealer:problem:upload-incomplete")
    assert "part 2, 3" in answer.json()["detail"]
    assert api.http.get("/v1/datasets/pets").status_code == 404


def test_while_an_import_reads_it_an_upload_stays_as_it_is(api: Api) -> None:
    upload = uploaded(api)
    api.http.post("/v1/datasets", json=of_upload(upload))

    answers = [
        api.http.delete(f"/v1/uploads/{upload['id']}"),
        send(api, upload, 1, bytes(len(CONTENT))),
        api.http.post("/v1/datasets", json=of_upload(upload, name="others")),
    ]

    assert [answer.status_code for answer in answers] == [409, 409, 409]


def test_a_small_file_comes_with_its_request(api: Api) -> None:
    address = '/v1/datasets?name=small&options={"channels":3}'

    answer = api.http.post(address, content=CONTENT, headers={"Content-Type": "application/octet-stream"})

    assert answer.status_code == 202, answer.text
    claim = api.shop.claim()
    assert claim is not None
    assert claim.upload is not None
    assert (claim.upload.sha256, len(claim.upload.parts)) == (sha256(CONTENT).hexdigest(), 3)
    assert claim.spec["options"]["channels"] == 3


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "parameter"),
        ("?name=UP", "/name"),
        ("?name=ok&options={", ""),
        ('?name=ok&options={"size":[0,1]}', "/options/size/0"),
        ("?name=data_1", "/name"),
    ],
)
def test_a_file_with_a_bad_query_is_refused_and_leaves_nothing(api: Api, query: str, told: str) -> None:
    answer = api.http.post(
        f"/v1/datasets{query}", content=CONTENT, headers={"Content-Type": "application/octet-stream"}
    )

    assert answer.status_code == 422
    (place,) = answer.json()["errors"]
    assert told in place if told == "parameter" else place["pointer"] == told
    assert rows(api)["uploads"] == 0


def test_a_data_set_that_a_job_needs_stays(api: Api) -> None:
    made = api.http.post("/v1/datasets", json=NAMED).json()
    refused_while_importing = api.http.delete("/v1/datasets/mnist")
    pack(api, made["links"]["job"].rpartition("/")[2])
    job = api.submit(dataset="mnist", batch_size=10).json()

    refused = api.http.delete("/v1/datasets/mnist")
    assert (refused.status_code, refused.json()["needed_by"]) == (409, [job["id"]])
    assert refused_while_importing.status_code == 409
    assert api.http.delete("/v1/datasets/mnist5k").status_code == 409
    api.http.post(f"/v1/jobs/{job['id']}/cancel")
    api.http.delete(f"/v1/jobs/{job['id']}")
    assert api.http.delete("/v1/datasets/mnist").status_code == 204
    assert api.http.get("/v1/datasets/mnist").status_code == 404
    assert api.http.get(made["links"]["job"]).json()["status"] == "succeeded"


def test_a_cancelled_import_frees_its_name_when_it_is_deleted(api: Api) -> None:
    job = api.http.post("/v1/datasets", json=NAMED).json()["links"]["job"]
    api.http.post(f"{job}/cancel")

    assert api.http.get("/v1/datasets/mnist").json()["status"] == "failed"
    assert api.http.delete(job).status_code == 204
    assert api.http.get("/v1/datasets/mnist").status_code == 404


def test_an_import_whose_name_has_gone_to_another_is_not_tried_again(api: Api) -> None:
    first = api.http.post("/v1/datasets", json=NAMED).json()["links"]["job"]
    api.http.post(f"{first}/cancel")
    second = api.http.post("/v1/datasets", json=NAMED | {"options": {"channels": 3}}).json()["links"]["job"]

    assert api.http.post(f"{first}/retry").status_code == 409
    api.http.post(f"{second}/cancel")
    assert api.http.post(f"{second}/retry").status_code == 200


def test_data_sets_are_listed_page_by_page(api: Api) -> None:
    api.http.post("/v1/datasets", json=NAMED)

    page = api.http.get("/v1/datasets?limit=2").json()
    rest = api.http.get("/v1/datasets", params={"limit": 2, "cursor": page["next_cursor"]}).json()

    assert [one["name"] for one in page["items"] + rest["items"]] == ["gaussian", "mnist", "mnist5k"]
    assert rest["next_cursor"] is None


def test_a_sample_sheet_is_a_picture(api: Api) -> None:
    answer = api.http.get("/v1/datasets/mnist5k/sample.png")

    assert (answer.headers["Content-Type"], answer.content[:4]) == ("image/png", b"\x89PNG")
    headers = {"If-None-Match": answer.headers["ETag"]}
    assert api.http.get("/v1/datasets/mnist5k/sample.png", headers=headers).status_code == 304


def test_what_is_anothers_is_not_found_and_its_name_is_taken(api: Api) -> None:
    api.http.post("/v1/datasets", json=NAMED, headers={"Annealer-Owner": "alice"})

    with read(api.shop.engine) as session:
        assert datasets.get(session, "mnist", "alice").owner == "alice"
        with pytest.raises(datasets.NotFound):
            datasets.get(session, "mnist", "bob")
        assert [one.name for one in datasets.page(session, "bob", None, 10)[0]] == ["gaussian", "mnist5k"]
    taken = api.http.post("/v1/datasets", json=NAMED, headers={"Annealer-Owner": "bob"})
    assert (taken.status_code, taken.json()["errors"][0]["pointer"]) == (409, "/name")


def test_no_row_of_a_data_set_is_left_by_these_tests(api: Api) -> None:
    with read(api.shop.engine) as session:
        assert session.scalars(select(Dataset.name).where(Dataset.owner.is_not(None))).all() == []
