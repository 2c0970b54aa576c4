"""Predictions of whole data sets as tables: what `predict` says of each image, to the last digit."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch

from tests.specs import dataset, spec
from trainer import snapshot
from trainer.data import DataSet
from trainer.errors import DataInvalid
from trainer.evaluate import BATCH_SIZE
from trainer.events import Advanced, Event, FileWritten, PhaseStarted, SnapshotTaken, TaskFinished, TaskStopped
from trainer.parsing import parse_as
from trainer.predict import Predicted, predict
from trainer.predictions import predict_all
from trainer.spec.prediction import ResolvedPrediction
from trainer.train import train

CPU = torch.device("cpu")
DATA = dataset(train=60, validation=BATCH_SIZE + 20)
WEIGHTS = [0.75, 0.25]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two snapshots."""
    folder, found = tmp_path_factory.mktemp("members"), []
    for event in train(spec(dataset="tiny", batch_size=20), DATA, device=CPU):
        if isinstance(event, SnapshotTaken):
            found.append(folder / f"{len(found)}.safetensors")
            snapshot.write(found[-1], event.weights, event.provenance)
    return found[:2]


def parsed(*, model: dict[str, Any] | None = None, **changes: Any) -> ResolvedPrediction:
    members = [{"snapshot_id": f"snap_{place}", "weight": weight} for place, weight in enumerate(WEIGHTS)]
    document = {"dataset": "tiny", "model": {"members": members, **(model or {})}}
    return parse_as(ResolvedPrediction, json.dumps(document | changes))


def run(paths: Sequence[Path], folder: Path, data: DataSet = DATA, **changes: Any) -> list[Event]:
    return list(predict_all(parsed(**changes), data, paths, folder, device=CPU))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def expected(paths: Sequence[Path], images: Any, how: Any = "mean", heat: float | None = None) -> Predicted:
    members = [(snapshot.load(path)[0], weight) for path, weight in zip(paths, WEIGHTS, strict=True)]
    return predict(members, how, heat, torch.tensor(images))


@pytest.mark.parametrize(("how", "heat"), [("mean", None), ("mean", 1.5), ("geometric_mean", None)])
def test_each_image_has_a_row_with_what_is_predicted(
    paths: list[Path], tmp_path: Path, how: str, heat: float | None
) -> None:
    run(paths, tmp_path, model={"combine": how, "temperature": heat})

    found = rows(tmp_path / "predictions.csv")
    places = [("train", index) for index in range(60)]
    places += [("validation", index) for index in range(BATCH_SIZE + 20)]
    assert [(row["split"], int(row["index"])) for row in found] == places
    for name, split in (("train", DATA.train), ("validation", DATA.validation)):
        of_split = [row for row in found if row["split"] == name]
        said = expected(paths, split.images, how, heat)
        assert said.probabilities is not None
        assert [row["label"] for row in of_split] == [DATA.classes[label] for label in split.labels]
        assert [row["predicted"] for row in of_split] == [DATA.classes[place] for place in said.classes]
        assert [
            [float(row[f"p({label})"]) for label in DATA.classes] for row in of_split
        ] == said.probabilities.tolist()
        assert [float(row["probability"]) for row in of_split] == said.probabilities.amax(1).tolist()


def test_a_parquet_file_has_the_same_columns_and_values(paths: list[Path], tmp_path: Path) -> None:
    run(paths, tmp_path)
    run(paths, tmp_path, format="parquet")

    table = pyarrow.parquet.read_table(tmp_path / "predictions.parquet")
    lines = rows(tmp_path / "predictions.csv")
    assert table.column_names == list(lines[0])
    assert {str(table.schema.field(name).type) for name in ("split", "label", "predicted")} == {"string"}
    assert [{name: str(value) for name, value in row.items()} for row in table.to_pylist()] == lines


def test_a_vote_has_classes_alone(paths: list[Path], tmp_path: Path) -> None:
    run(paths, tmp_path, model={"combine": "majority_vote"}, splits=["validation"])

    found = rows(tmp_path / "predictions.csv")
    said = expected(paths, DATA.validation.images, "majority_vote")
    assert list(found[0]) == ["split", "index", "label", "predicted"]
    assert [row["predicted"] for row in found] == [DATA.classes[place] for place in said.classes]


def test_the_columns_of_classes_may_be_left_out(paths: list[Path], tmp_path: Path) -> None:
    run(paths, tmp_path, probabilities=False)

    assert list(rows(tmp_path / "predictions.csv")[0]) == ["split", "index", "label", "predicted", "probability"]


def test_labels_come_back_whatever_is_in_them(paths: list[Path], tmp_path: Path) -> None:
    odd = ('a,"b"', "line\nbreak", "=1+1", "é", *DATA.classes[4:])

    run(paths, tmp_path, replace(DATA, classes=odd), splits=["train"])

    assert [row["label"] for row in rows(tmp_path / "predictions.csv")] == [odd[label] for label in DATA.train.labels]


def test_it_tells_how_far_it_is_and_of_its_file(paths: list[Path], tmp_path: Path) -> None:
    events = run(paths, tmp_path)

    size = (tmp_path / "predictions.csv").stat().st_size
    assert events == [
        PhaseStarted("loading_data"),
        PhaseStarted("predicting"),
        *(Advanced(done, 3) for done in (1, 2, 3)),
        FileWritten("predictions.csv", "text/csv; charset=utf-8", size),
        TaskFinished(),
    ]


def test_it_stops_before_the_next_batch(paths: list[Path], tmp_path: Path) -> None:
    asked = iter([False, True])

    events = list(predict_all(parsed(), DATA, paths, tmp_path, device=CPU, stop=lambda: next(asked)))

    assert events[-2:] == [Advanced(1, 3), TaskStopped()]


def test_a_split_that_is_not_there_is_told(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="no split test"):
        run(paths, tmp_path, splits=["train", "test"])


def test_predictions_that_are_no_numbers_are_told(paths: list[Path], tmp_path: Path) -> None:
    model, origin = snapshot.load(paths[0])
    weights = {name: torch.full_like(value, np.nan) for name, value in model.state_dict().items()}
    snapshot.write(tmp_path / "broken", weights, origin)

    with pytest.raises(DataInvalid, match="not finite for images from 0 on of train"):
        run([tmp_path / "broken", paths[1]], tmp_path)
