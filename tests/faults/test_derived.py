"""What may happen to predictions of a data set and to exports: they are made once in effect, the same bytes."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from app.api.schemas import JobView
from app.store import blobs, snapshots
from app.store.engine import read
from app.store.states import Outcome
from tests.faults.judge import judge, judge_story
from tests.faults.service import TINY
from tests.faults.system import System
from trainer import data, export
from trainer.parsing import parse_as
from trainer.predictions import predict_all
from trainer.spec.exporting import ResolvedExport
from trainer.spec.prediction import ResolvedPrediction


def asked(system: System, kind: str) -> tuple[str, JobView]:
    """A training, and a job that makes a file of its ensemble."""
    training = system.submit()
    system.await_final(training)
    if kind == "export":
        return training, system.client.export(training, "safetensors")
    return training, system.client.predict_dataset(training, {"dataset": "mnist5k"})


def expected(system: System, job: JobView, folder: Path) -> dict[str, bytes]:
    """The files that the trainer makes alone, with one thread as the workers of the tests."""
    paths, made = [], folder / "made"
    for member in job.spec["model"]["members"]:
        paths.append(folder / member["snapshot_id"])
        with read(system.engine) as session:
            blobs.fetch(system.engine, snapshots.get(session, member["snapshot_id"]).sha256, paths[-1])
    document, threads = json.dumps(job.spec), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if job.kind == "export":
            list(export.events(parse_as(ResolvedExport, document), paths, made))
        else:
            made.mkdir()
            spec = parse_as(ResolvedPrediction, document)
            list(predict_all(spec, data.load("mnist5k"), paths, made, device=torch.device("cpu")))
    finally:
        torch.set_num_threads(threads)
    return {path.name: path.read_bytes() for path in made.iterdir()}


def assert_whole(system: System, training: str, job: JobView, folder: Path, *outcomes: Outcome) -> None:
    system.await_final(job.id)
    assert [attempt.outcome for attempt in system.attempts(job.id)] == list(outcomes)
    found = {}
    for file in system.client.files(job.id):
        system.client.download(file, folder / file.name)
        found[file.name] = (folder / file.name).read_bytes()
    assert found == expected(system, job, folder)
    judge_story(system, job.id)
    judge(system, {training: TINY})


@pytest.mark.parametrize("kind", ["prediction", "export"])
def test_a_killed_child(system: System, kind: str, tmp_path: Path) -> None:
    training, job = asked(system, kind)

    os.kill(system.await_child(), signal.SIGKILL)

    assert_whole(system, training, job, tmp_path, Outcome.CRASHED, Outcome.SUCCEEDED)
    assert f"The {kind} process ended with signal 9. The job will go on from the start." in system.story(job.id)


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["prediction", "export"])
def test_a_killed_worker(system: System, kind: str, tmp_path: Path) -> None:
    training, job = asked(system, kind)

    system.await_child()
    system.kill(system.worker)
    system.start_worker()

    assert_whole(system, training, job, tmp_path, Outcome.LOST, Outcome.SUCCEEDED)
