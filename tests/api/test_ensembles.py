"""Ensembles by request over HTTP: made, refused with the reason, listed, deleted."""

import json
from typing import Any

import httpx
import pytest

from app.store import attempts, wishes
from app.store.models import Ensemble
from tests.api.conftest import Api, Finished
from tests.reports import measured
from trainer.parsing import parse_as
from trainer.spec.scoring import ScoringSpec


def post(api: Api, ids: list[str], *, headers: dict[str, str] | None = None, **changes: Any) -> httpx.Response:
    body = {"name": "together", "members": {"kind": "snapshots", "ids": ids}} | changes
    return api.http.post("/v1/ensembles", json=body, headers=headers)


def wrong(answer: httpx.Response) -> list[tuple[str, str]]:
    """Pointer and code of each mistake."""
    assert answer.status_code == 422, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    return [(place["pointer"], place["code"]) for place in answer.json()["errors"]]


def test_an_ensemble_is_made_with_the_job_that_scores_it(api: Api) -> None:
    training = api.shop.trained()
    ids = api.shop.snapshots(training)

    answer = post(api, ids, labels={"team": "a"})

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == made["links"]["self"] == f"/v1/ensembles/{made['id']}"
    assert (made["kind"], made["status"], made["scores"], made["report"]) == ("combined", "queued", None, None)
    assert [(one["snapshot_id"], one["job_id"], one["weight"]) for one in made["members"]] == [
        (id, training.job_id, None) for id in ids
    ]
    assert made["spec"]["dataset"] == "mnist5k"
    assert made["spec"]["score_on"] == "validation"
    job = api.http.get(made["links"]["job"]).json()
    assert (job["kind"], job["name"], job["labels"]) == ("scoring", "together", {"team": "a"})
    assert job["progress"]["steps"] == 2
    assert api.http.get(job["links"]["ensemble"]).json() == made


def test_the_documents_examples_are_what_can_be_asked(api: Api) -> None:
    described = api.http.get("/openapi.json").json()["paths"]["/v1/ensembles"]["post"]["requestBody"]

    body = described["content"]["application/json"]

    assert body["schema"] == {"$ref": "#/components/schemas/ScoringSpec"}
    for example in body["examples"].values():
        assert parse_as(ScoringSpec, json.dumps(example["value"])).name == example["value"]["name"]


def test_once_scored_it_says_everything(api: Api) -> None:
    ids = api.shop.snapshots(api.shop.trained())
    made = post(api, ids).json()
    claim = api.shop.claim()
    assert claim is not None

    api.shop.record(claim, measured=measured(ids, [1.0, 0.0]))
    api.shop.act(attempts.succeed, claim.job_id, claim.attempt)

    found = api.http.get(f"/v1/ensembles/{made['id']}").json()
    assert found["status"] == "succeeded"
    assert found["scores"] == {"accuracy": 0.95, "error": 0.05, "negative_log_likelihood": 0.2}
    assert found["single"]["error"] == 0.1
    assert found["report"]["members"][1]["snapshot_id"] == ids[1]
    assert [one["weight"] for one in found["members"]] == [1.0]


def test_the_same_key_makes_one_ensemble(api: Api) -> None:
    ids = api.shop.snapshots(api.shop.trained())
    key = {"Idempotency-Key": "one"}

    first, again, other = post(api, ids, headers=key), post(api, ids, headers=key), post(api, ids[:1], headers=key)

    assert first.json() == again.json()
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 422)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(api.http.get("/v1/jobs?kind=scoring").json()["items"]) == 1


def test_lists_of_jobs_show_trainings_and_those_of_ensembles_all_ensembles(api: Api, finished: Finished) -> None:
    training = api.shop.trained()
    made = [post(api, api.shop.snapshots(training)).json() for _ in range(2)]

    first = api.http.get("/v1/ensembles?limit=2")
    second = api.http.get(first.headers["Link"].split(">")[0].removeprefix("<")).json()

    assert [one["id"] for one in first.json()["items"]] == [made[1]["id"], made[0]["id"]]
    (own,) = second["items"]
    assert (own["kind"], own["job_id"], own["spec"], own["report"]) == ("snapshots", finished.id, None, None)
    assert second["next_cursor"] is None
    jobs = [job["id"] for job in api.http.get("/v1/jobs").json()["items"]]
    assert jobs == [training.job_id, finished.id]


@pytest.mark.parametrize(
    ("provenance", "place"),
    [
        ({"classes": ["a", "b"]}, ("/members/ids/2", "classes_differ")),
        ({"classes": [*"1234567890"]}, ("/members/ids/2", "classes_differ")),
        ({"input_shape": [3, 28, 28]}, ("/members/ids/2", "shape_differs")),
    ],
)
def test_what_may_not_be_mixed_is_refused_with_the_reason(
    api: Api, provenance: dict[str, Any], place: tuple[str, str]
) -> None:
    ids = api.shop.snapshots(api.shop.trained(), api.shop.trained(snapshots=1, provenance=provenance))

    assert wrong(post(api, ids)) == [place]
    assert api.http.get("/v1/ensembles").json()["items"] == []


def test_members_of_several_data_sets_need_one_to_be_scored_on(api: Api) -> None:
    other = {"dataset": {"name": "gaussian"}}
    ids = api.shop.snapshots(api.shop.trained(), api.shop.trained(provenance=other))

    assert wrong(post(api, ids)) == [("/dataset", "missing")]
    assert wrong(post(api, ids, dataset="none")) == [("/dataset", "unknown_dataset")]
    assert wrong(post(api, ids, dataset="gaussian")) == [("/dataset", "shape_differs")]
    assert post(api, ids, dataset="mnist5k").status_code == 201


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"select": {"kind": "all", "weights": [1.0]}}, [("/select/weights", "weights_differ")]),
        ({"select": {"kind": "best", "count": 3}}, [("/select/count", "too_few_members")]),
        ({"select": {"kind": "greedy"}, "combine": "majority_vote"}, [("/combine", "no_probabilities")]),
        ({"temperature": {}, "combine": "majority_vote"}, [("/temperature", "no_probabilities")]),
        ({"select": {"kind": "greedy"}, "score_on": "validation"}, [("/select/on", "split_is_scored")]),
        ({"select": {"kind": "greedy"}, "score_on": "validation/a"}, [("/select/on", "split_is_scored")]),
        ({"temperature": {"on": "validation"}, "score_on": "validation/b"}, [("/temperature/on", "split_is_scored")]),
        ({"temperature": {"on": "train"}}, [("/temperature/on", "unknown_choice")]),
        ({"score_on": "test"}, [("/score_on", "no_test_split")]),
        ({"colour": 1}, [("/colour", "unknown_key")]),
        ({"select": {"kind": "some"}}, [("/select/kind", "unknown_kind")]),
        ({"bootstrap": {"draws": 1}}, [("/bootstrap/draws", "greater_than_equal")]),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_place(
    api: Api, changes: dict[str, Any], places: list[tuple[str, str]]
) -> None:
    ids = api.shop.snapshots(api.shop.trained())

    assert wrong(post(api, ids, **changes)) == places


def test_what_is_not_there_is_named(api: Api) -> None:
    running = api.shop.trained(end=False)
    bare = api.shop.trained(snapshots=0)
    ids = api.shop.snapshots(running)

    assert wrong(post(api, ["snap_none", ids[0], ids[0]])) == [
        ("/members/ids/2", "repeated"),
        ("/members/ids/0", "unknown_snapshot"),
        ("/members/ids/1", "job_not_final"),
        ("/members/ids/2", "job_not_final"),
    ]
    of_jobs = {"kind": "jobs", "ids": ["job_none", bare.job_id]}
    assert wrong(post(api, [], members=of_jobs)) == [
        ("/members/ids/0", "unknown_job"),
        ("/members/ids/1", "no_snapshots"),
    ]


def test_splits_that_have_no_image_in_common_go_together(api: Api) -> None:
    ids = api.shop.snapshots(api.shop.trained())

    greedy = post(api, ids, select={"kind": "greedy"}, temperature={}).json()
    on_train = post(api, ids, temperature={"on": "validation"}, score_on="train").json()

    assert greedy["spec"]["score_on"] == "validation/b"
    assert on_train["spec"]["score_on"] == "train"


def test_a_job_whose_snapshots_are_members_is_not_deleted(api: Api) -> None:
    training = api.shop.trained()
    made = post(api, api.shop.snapshots(training)).json()

    refused = api.http.delete(f"/v1/jobs/{training.job_id}")
    running = api.http.delete(f"/v1/ensembles/{made['id']}")
    api.shop.act(wishes.cancel, made["job_id"])
    deleted = api.http.delete(f"/v1/ensembles/{made['id']}")

    assert (refused.status_code, running.status_code, deleted.status_code) == (409, 409, 204)
    assert refused.json()["type"] == "urn:annealer:problem:in-use"
    assert refused.json()["needed_by"] == [made["id"]]
    assert api.http.get(f"/v1/ensembles/{made['id']}").status_code == 404
    assert api.http.get(made["links"]["job"]).status_code == 404
    assert api.http.delete(f"/v1/jobs/{training.job_id}").status_code == 204


def test_the_ensemble_of_a_training_goes_with_the_training(api: Api, finished: Finished) -> None:
    own = api.http.get(f"/v1/jobs/{finished.id}/ensemble").json()

    answer = api.http.delete(own["links"]["self"])

    assert answer.status_code == 409
    assert finished.id in answer.json()["detail"]
    with api.shop.look() as session:
        assert session.get(Ensemble, own["id"]) is not None
