"""Trainings side by side over HTTP."""

from typing import Any

import httpx
import pytest

from app.store import attempts
from app.store.ensembles import NewEnsemble
from tests.api.conftest import Api
from trainer.events import Scores, VoteScores


def epoch(number: int, validation_loss: float) -> dict[str, Any]:
    return {
        "epoch": number,
        "step": 10 * number,
        "train_loss": 0.25,
        "train_accuracy": 0.5,
        "validation_loss": validation_loss,
        "validation_accuracy": 0.75,
        "learning_rate": 0.1,
        "images_per_second": 1000.0,
        "seconds": 0.5,
    }


def trained(api: Api, losses: list[float], *, error: float | None = None, **changes: Any) -> str:
    """A training whose validation losses are these, with an ensemble of one snapshot that errs so often."""
    claim = api.shop.trained(snapshots=1, end=False, **changes)
    api.shop.record(claim, epochs=[epoch(number, loss) for number, loss in enumerate(losses, 1)])
    if error is not None:
        scores, votes = Scores(1 - error, error, 2 * error), VoteScores(1 - error, error)
        new = NewEnsemble("snapshots", [(1, 1.0)], scores, scores, geometric_mean=scores, majority_vote=votes)
        api.shop.record(claim, ensemble=new)
    api.shop.act(attempts.succeed, claim.job_id, claim.attempt)
    return claim.job_id


def compare(api: Api, *jobs: str, **parameters: Any) -> httpx.Response:
    return api.http.get("/v1/compare", params={"jobs": list(jobs), **parameters})


def test_epochs_stand_beside_each_other(api: Api) -> None:
    short, long = trained(api, [0.9, 0.5]), trained(api, [0.8, 0.3, 0.6], epochs=6)

    found = compare(api, short, long).json()

    assert [job["id"] for job in found["jobs"]] == [short, long]
    assert found["series"]["epochs"] == [1, 2, 3]
    assert found["series"]["validation_loss"] == [[0.9, 0.5, None], [0.8, 0.3, 0.6]]
    assert [job["last"]["validation_loss"] for job in found["jobs"]] == [0.5, 0.6]
    assert [job["best"]["epoch"] for job in found["jobs"]] == [2, 2]
    assert found["differences"] == [{"pointer": "/epochs", "values": [4, 6]}]
    assert found["repetitions"] == []


def test_trainings_that_differ_only_in_their_seed_are_summed_up(api: Api) -> None:
    jobs = [trained(api, [loss], error=loss / 10, seed=seed) for seed, loss in enumerate((0.4, 0.5, 0.6))]
    other = trained(api, [0.1], batch_size=64)

    found = compare(api, *jobs, other).json()

    (repetition,) = found["repetitions"]
    assert (repetition["jobs"], repetition["seeds"]) == (jobs, [0, 1, 2])
    loss = repetition["figures"]["validation_loss"]
    assert (loss["count"], loss["mean"], loss["std"]) == (3, pytest.approx(0.5), pytest.approx(0.1))
    assert loss["high"] - loss["mean"] == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)
    assert repetition["figures"]["ensemble_error"]["mean"] == pytest.approx(0.05)


def test_long_series_are_shown_by_evenly_spaced_epochs(api: Api) -> None:
    jobs = [trained(api, [1 / number for number in range(1, 102)], seed=seed) for seed in (1, 2)]

    found = compare(api, *jobs, max_points=5).json()

    assert found["series"]["epochs"] == [1, 26, 51, 76, 101]


def test_jobs_that_have_trained_nothing_yet_can_be_compared(api: Api) -> None:
    jobs = [api.submit(seed=seed).json()["id"] for seed in (1, 2)]

    found = compare(api, *jobs).json()

    assert found["series"]["epochs"] == []
    assert [(job["last"], job["best"], job["ensemble"]) for job in found["jobs"]] == [(None, None, None)] * 2
    assert found["repetitions"][0]["figures"] == {}


def test_what_cannot_be_compared_is_refused(api: Api) -> None:
    job = trained(api, [0.5])
    snapshots = [one["id"] for one in api.http.get(f"/v1/jobs/{job}/snapshots").json()["items"]]
    scoring = api.shop.ensemble(snapshots).job_id

    assert compare(api, job).status_code == 422
    assert compare(api, job, job).json()["errors"][0]["code"] == "repeated"
    assert compare(api, job, "job_none").status_code == 404
    assert compare(api, job, scoring).status_code == 404
