"""`annealer predict` and `annealer export` beside a running service."""

import csv
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from app.client import Client
from tests.cli.conftest import Run
from tests.specs import document
from trainer import data

IMAGES = data.load("mnist5k").validation.images[:100]


@pytest.fixture(scope="module")
def job(client: Client) -> str:
    made = client.submit(document(name="to be asked")).id
    *_, last = client.watch(made)
    assert last.status == "succeeded"
    return made


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{place}.png" for place in range(3)]
    for path, image in zip(paths, IMAGES, strict=False):
        Image.fromarray(image[0]).save(path)
    return paths


def test_images_are_told_by_their_names_and_labels(annealer: Run, client: Client, job: str, files: list[Path]) -> None:
    shown = annealer("predict", job, *files, "--members", "--top", 2)
    answered = annealer("predict", client.ensemble(job).id, *files, "--json")

    assert shown.returncode == 0, shown.stderr
    assert all(path.name in shown.stdout for path in files)
    assert "disagreement" in shown.stdout
    items = json.loads(answered.stdout)["items"]
    expected = client.predict_array(job, IMAGES[:3])
    assert [item["label"] for item in items] == [item.label for item in expected.items]


def test_an_image_that_cannot_be_read_is_bad_input(annealer: Run, job: str, files: list[Path]) -> None:
    files[1].write_bytes(b"nothing")

    done = annealer("predict", job, *files)

    assert done.returncode == 2
    assert "/images/1" in done.stderr
    assert annealer("predict", job, "none.png").returncode == 2


def test_an_exported_ensemble_answers_as_the_service_does(
    annealer: Run, client: Client, job: str, tmp_path: Path
) -> None:
    done = annealer("export", job, "--format", "onnx", "--out", "taken")

    assert done.returncode == 0, done.stderr
    assert "model.onnx" in done.stdout
    session = onnxruntime.InferenceSession(tmp_path / "taken" / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"images": IMAGES})
    expected = [item.probabilities for item in client.predict_array(job, IMAGES).items]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_data_set_is_predicted_into_a_file(annealer: Run, client: Client, job: str, tmp_path: Path) -> None:
    done = annealer("batch-predict", job, "mnist5k", "--split", "validation", "--out", "out/table.csv")

    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1000
    expected = client.predict_array(job, IMAGES)
    assert [row["predicted"] for row in rows[:100]] == [item.label for item in expected.items]


def test_without_a_file_the_job_is_told_and_its_files_are_listed(annealer: Run, client: Client, job: str) -> None:
    told = annealer("batch-predict", job, "mnist5k", "--format", "parquet", "--no-probabilities")
    made = told.stdout.strip()
    list(client.watch(made))

    listed = annealer("files", made)
    taken = annealer("files", made, "--download", "taken")

    assert (told.returncode, client.job(made).status) == (0, "succeeded")
    assert "predictions.parquet" in listed.stdout
    assert Path("taken", "predictions.parquet").as_posix() in taken.stdout


def test_what_cannot_be_exported_is_told(annealer: Run, client: Client, job: str) -> None:
    wish = {"name": "vote", "members": {"kind": "jobs", "ids": [job]}, "combine": "majority_vote"}
    vote = client.make_ensemble(wish)
    list(client.watch(vote.job_id))

    done = annealer("export", vote.id, "--out", "taken")

    assert done.returncode == 6
    assert "no probabilities" in done.stderr
