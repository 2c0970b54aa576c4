"""Model cards and reports: what is stored, written to be read elsewhere."""

import re
from xml.etree import ElementTree

import pytest

from app.client import Client, Refused
from app.store import attempts
from app.store.ensembles import NewEnsemble
from tests.api.conftest import Api, Finished
from tests.reports import measured
from trainer.events import Scores, VoteScores

HOSTILE = "<script>alert(1)</script> | *bold*"


def scored(api: Api) -> str:
    """An ensemble by request that is scored; its id."""
    training = api.shop.trained(name=HOSTILE)
    wish = {"name": HOSTILE, "members": {"kind": "jobs", "ids": [training.job_id]}}
    made = api.http.post("/v1/ensembles", json=wish).json()
    claim = api.shop.claim()
    assert claim is not None
    api.shop.record(claim, measured=measured(api.shop.snapshots(training), [0.5, 0.5]))
    api.shop.act(attempts.succeed, claim.job_id, claim.attempt)
    return str(made["id"])


def test_a_card_says_what_is_known_and_where_it_ends(api: Api) -> None:
    card = api.http.get(f"/v1/ensembles/{scored(api)}/card").json()

    (data,), (training,) = card["data"], card["trainings"]
    assert (data["name"], data["licence"]) == ("mnist5k", "CC BY-SA 3.0")
    assert data["splits"]["train"]["count"] == 4000
    assert (training["name"], training["snapshots"]) == (HOSTILE, [1, 2])
    assert card["report"]["confusion"]
    assert any("28×28 pixels, grey" in limit for limit in card["limits"])
    assert any("rather too good" in limit for limit in card["limits"])
    assert card["id"] in card["loading"]
    assert len(card["loading"].strip().splitlines()) <= 10
    compile(card["loading"], "loading", "exec")


def test_a_card_in_markdown_shows_text_of_others_as_text(api: Api) -> None:
    answer = api.http.get(f"/v1/ensembles/{scored(api)}/card", params={"format": "markdown"})

    assert answer.headers["Content-Type"].startswith("text/markdown")
    assert answer.text.startswith(r"# \<script\>alert(1)\</script\> \| \*bold\*")
    for heading in ("Scores on validation", "Data", "Training", "Limits", "Use", "Versions"):
        assert f"## {heading}" in answer.text
    assert "![Loss and accuracy by epoch](curves.svg)" in answer.text
    assert "licence: CC BY-SA 3.0" in answer.text


def test_an_ensemble_that_is_not_scored_has_no_card(api: Api) -> None:
    claim = api.shop.trained()
    wish = {"name": "x", "members": {"kind": "jobs", "ids": [claim.job_id]}}
    made = api.http.post("/v1/ensembles", json=wish).json()["id"]

    with Client(str(api.http.base_url)) as client, pytest.raises(Refused):
        client.card(made)


def test_the_ensemble_of_a_training_has_a_card_that_says_what_is_missing(api: Api) -> None:
    claim = api.shop.trained(end=False)
    scores = Scores(0.8, 0.2, 0.4)
    shares = [(1, 0.5), (2, 0.5)]
    made = NewEnsemble("snapshots", shares, scores, scores, geometric_mean=scores, majority_vote=VoteScores(0.8, 0.2))
    api.shop.record(claim, ensemble=made)
    api.shop.act(attempts.succeed, claim.job_id, claim.attempt)
    ensemble = api.http.get(f"/v1/jobs/{claim.job_id}/ensemble").json()["id"]

    card = api.http.get(f"/v1/ensembles/{ensemble}/card").json()
    text = api.http.get(f"/v1/ensembles/{ensemble}/card", params={"format": "markdown"}).text

    assert (card["report"], card["scored_on"]) == (None, "validation")
    assert any("Score it in full" in limit for limit in card["limits"])
    assert "Most often confused" not in text


def test_curves_are_a_picture(api: Api, finished: Finished) -> None:
    answer = api.http.get(f"/v1/jobs/{finished.id}/curves.svg")

    picture = ElementTree.fromstring(answer.text)
    lines = [line.attrib["points"].split() for line in picture.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [len(points) for points in lines] == [4, 4, 4, 4]
    # Training loss falls from 1 to 1/4 as 1/epoch: on its scale from the top to the bottom of its panel.
    heights = [float(point.split(",")[1]) for point in lines[0]]
    assert (heights[0], heights[-1]) == (22.0, 174.0)
    assert heights[1] == pytest.approx(22 + 152 * (1 - (0.5 - 0.25) / 0.75), abs=0.06)


def test_a_report_is_one_file_that_loads_and_runs_nothing(api: Api, finished: Finished) -> None:
    ensemble = scored(api)
    job = api.http.get(f"/v1/ensembles/{ensemble}").json()["members"][0]["job_id"]

    answer, plain = (api.http.get(f"/v1/jobs/{one}/report.html") for one in (job, finished.id))

    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert "<script" not in answer.text
    assert re.findall(r"(?:src|href)=", answer.text) == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    for part in ("Confusion", "Calibration", "Events", "Spec"):
        assert f">{part}<" in answer.text
    assert plain.text.count("<polyline") == 4
    assert ">Epochs<" in plain.text
    assert plain.text.count("<tr><td>snapshot ") == 2


def test_only_trainings_have_reports(api: Api) -> None:
    job = api.http.get(f"/v1/ensembles/{scored(api)}").json()["job_id"]

    assert api.http.get(f"/v1/jobs/{job}/report.html").status_code == 404
