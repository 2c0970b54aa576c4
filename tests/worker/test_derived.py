"""Predictions of data sets and exports, made by a real worker."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from app.store import blobs, datasets, derived, files, serving, snapshots
from app.store.engine import write
from app.store.models import Job, Snapshot
from app.store.states import Status
from tests.servers import await_true
from tests.worker.conftest import Plant
from tests.worker.watching import SECONDS, await_status, kinds
from trainer import data, export
from trainer.parsing import parse_as
from trainer.predictions import predict_all
from trainer.spec.exporting import ExportSpec
from trainer.spec.prediction import PredictionSpec, ResolvedPrediction


@pytest.fixture
def ensemble(plant: Plant) -> str:
    """Id of the ensemble of a training that has succeeded."""
    job = plant.shop.submit(epochs=2)
    plant.bell.ring("auto")
    await_status(plant.shop, job, Status.SUCCEEDED)
    ids = plant.shop.snapshots_of(job.id)
    made = plant.shop.ensemble(ids, select={"kind": "all", "weights": [3.0, 1.0]})
    plant.bell.ring("auto")
    await_true(lambda: plant.shop.job(made.job_id).status is Status.SUCCEEDED, SECONDS)
    return made.id


def queued(plant: Plant, ensemble_id: str, asked: PredictionSpec | ExportSpec) -> Job:
    with write(plant.engine) as session:
        served = serving.ensemble(session, ensemble_id)
        if isinstance(asked, ExportSpec):
            job, _ = derived.make(session, derived.export(asked, served), None, max_attempts=3)
        else:
            dataset = datasets.get(session, asked.dataset)
            job, _ = derived.make(session, derived.prediction(asked, served), dataset, max_attempts=3)
        return job


def ended(plant: Plant, job: Job) -> Job:
    plant.bell.ring("auto")
    await_true(lambda: plant.shop.job(job.id).status.is_final, SECONDS)
    return plant.shop.job(job.id)


def content(plant: Plant, job: Job, name: str) -> bytes:
    with plant.shop.look() as session:
        file = files.get(session, job.id, name)
    found = b"".join(blobs.stream(plant.engine, file.sha256))
    assert len(found) == file.size
    return found


def members(plant: Plant, job: Job, folder: Path) -> list[Path]:
    """The files of the model that a job's spec names."""
    paths = []
    for member in job.spec["model"]["members"]:
        paths.append(folder / member["snapshot_id"])
        with plant.shop.look() as session:
            blobs.fetch(plant.engine, snapshots.get(session, member["snapshot_id"]).sha256, paths[-1])
    return paths


def test_a_worker_writes_the_table_that_the_trainer_writes_alone(plant: Plant, ensemble: str, tmp_path: Path) -> None:
    job = queued(plant, ensemble, PredictionSpec(dataset="mnist5k", splits=("validation",)))

    done = ended(plant, job)

    assert done.status is Status.SUCCEEDED
    spec: Any = parse_as(ResolvedPrediction, json.dumps(done.spec))
    assert [member.weight for member in spec.model.members] == [0.75, 0.25]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        paths = members(plant, done, tmp_path)
        list(predict_all(spec, data.load("mnist5k"), paths, tmp_path, device=torch.device("cpu")))
    finally:
        torch.set_num_threads(threads)
    table = content(plant, done, "predictions.csv")
    assert table == (tmp_path / "predictions.csv").read_bytes()
    rows = list(csv.DictReader(io.StringIO(table.decode())))
    right = sum(row["label"] == row["predicted"] for row in rows)
    with plant.shop.look() as session:
        scored = serving.ensembles.get(session, ensemble)
    assert right / len(rows) == scored.accuracy
    assert (done.step, done.steps_per_epoch) == (2, 2)
    assert kinds(plant.shop, done) == ["submitted", "started", "file_written", "succeeded"]


def test_a_worker_exports_a_model_with_its_description(plant: Plant, ensemble: str, tmp_path: Path) -> None:
    done = ended(plant, queued(plant, ensemble, ExportSpec(format="safetensors")))

    assert done.status is Status.SUCCEEDED
    with plant.shop.look() as session:
        assert [file.name for file in files.of_job(session, done.id)] == ["annealer.json", "model.safetensors"]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content(plant, done, "model.safetensors"))
    _, described = export.load(path)
    assert json.loads(content(plant, done, "annealer.json")) == described
    assert [one["weight"] for one in described["members"]] == [0.75, 0.25]


@pytest.mark.parametrize("asked", [ExportSpec(), PredictionSpec(dataset="mnist5k")], ids=["export", "prediction"])
def test_a_snapshot_that_has_gone_fails_the_job_as_the_users(plant: Plant, ensemble: str, asked: Any) -> None:
    plant.worker.stop()
    job = queued(plant, ensemble, asked)
    with write(plant.engine) as session:
        session.delete(session.get_one(Snapshot, job.spec["model"]["members"][0]["snapshot_id"]))
    plant.worker = plant.another()

    failed = ended(plant, job)

    assert (failed.status, failed.failure_class, failed.failure_code) == (Status.FAILED, "user", "snapshot_gone")


def test_deleting_the_job_deletes_its_files(plant: Plant, ensemble: str) -> None:
    done = ended(plant, queued(plant, ensemble, ExportSpec(format="safetensors")))
    with plant.shop.look() as session:
        hashes = [file.sha256 for file in files.of_job(session, done.id)]

    plant.shop.act(derived.jobs.delete, done.id)

    with plant.shop.look() as session:
        assert files.of_job(session, done.id) == []
        for hash in hashes:
            with pytest.raises(blobs.BlobDamaged):
                blobs.size(session, hash)
