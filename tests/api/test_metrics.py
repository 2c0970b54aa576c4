"""Epochs and series over HTTP."""

import csv
import io
from typing import Any

import pytest

from tests.api.conftest import Api, Finished


def get(api: Api, finished: Finished, **parameters: Any) -> Any:
    answer = api.http.get(f"/v1/jobs/{finished.id}/metrics", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_epochs_are_rows(api: Api, finished: Finished) -> None:
    epochs = get(api, finished).json()["epochs"]

    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4]
    assert epochs[0] == {
        "epoch": 1,
        "step": 10,
        "train_loss": 1.0,
        "train_accuracy": 0.5,
        "validation_loss": 0.25,
        "validation_accuracy": 0.75,
        "learning_rate": 0.1,
        "images_per_second": 1000.0,
        "seconds": 0.5,
    }


def test_a_long_series_is_drawn_with_fewer_points(api: Api, finished: Finished) -> None:
    loss = get(api, finished, max_points=100).json()["series"]["loss"]

    assert len(loss["steps"]) <= 100
    assert loss["count"] == 5000
    assert (loss["steps"][0], loss["steps"][-1]) == (1, 5000)
    assert max(loss["values"]) == 1.0
    assert all(value == 1 / step for step, value in zip(loss["steps"], loss["values"], strict=True))


def test_a_range_of_a_series_is_asked_for(api: Api, finished: Finished) -> None:
    loss = get(api, finished, series="loss", from_step=100, to_step=102).json()["series"]["loss"]

    assert loss == {"steps": [100, 101, 102], "values": [1 / 100, 1 / 101, 1 / 102], "count": 3}


def test_csv_is_the_table_of_epochs(api: Api, finished: Finished) -> None:
    answer = get(api, finished, format="csv")

    assert answer.headers["Content-Type"].startswith("text/csv")
    header, *lines = rows(answer.text)
    assert header[:3] == ["epoch", "step", "train_loss"]
    assert [line[0] for line in lines] == ["1", "2", "3", "4"]


def test_csv_of_a_series_is_its_points(api: Api, finished: Finished) -> None:
    answer = get(api, finished, format="csv", series="loss", max_points=100_000)

    header, *lines = rows(answer.text)
    assert header == ["step", "loss"]
    assert len(lines) == 5000
    assert [float(cell) for cell in lines[2]] == [3, 1 / 3]


def test_a_job_that_has_not_begun_has_no_metrics(api: Api) -> None:
    job = api.shop.submit()

    assert api.http.get(f"/v1/jobs/{job.id}/metrics").json() == {"epochs": [], "series": {}}


@pytest.mark.parametrize(
    ("parameters", "place"),
    [
        ({"series": "speed"}, "series"),
        ({"series": ["loss", "speed"]}, "series"),
        ({"series": ["loss", "loss"], "format": "csv"}, "series"),
        ({"max_points": 1}, "max_points"),
        ({"from_step": 0}, "from_step"),
        ({"format": "xml"}, "format"),
    ],
)
def test_what_cannot_be_shown_is_refused(api: Api, finished: Finished, parameters: dict[str, Any], place: str) -> None:
    answer = api.http.get(f"/v1/jobs/{finished.id}/metrics", params=parameters)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == place
