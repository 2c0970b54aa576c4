"""What may happen to the scoring of an ensemble: it is scored once in effect, to the bit, and the story is told."""

import json
import os
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from app.api.schemas import EnsembleView
from app.store import blobs, snapshots
from app.store.engine import read
from app.store.states import Outcome, Phase
from tests.faults.judge import judge, judge_story
from tests.faults.service import TINY
from tests.faults.system import System
from tests.servers import await_true
from trainer import data
from trainer.events import EnsembleMeasured
from trainer.parsing import parse_as
from trainer.scoring import score
from trainer.spec.scoring import ScoringSpec

SLOW = {
    "name": "together",
    "select": {"kind": "greedy", "count": 1000, "by": "error"},
    "temperature": {},
    "bootstrap": {"draws": 10_000},
}
"""Chooses and draws for long enough to be caught in the middle."""


def made(system: System) -> tuple[str, EnsembleView]:
    """A training, and an ensemble of its snapshots that is being scored."""
    training = system.submit()
    system.await_final(training)
    ensemble = system.client.make_ensemble(SLOW | {"members": {"kind": "jobs", "ids": [training]}})
    await_true(lambda: system.job(ensemble.job_id).phase is Phase.SCORING, 30)
    return training, ensemble


def undisturbed(system: System, spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the trainer finds alone, with one thread as the workers of the tests."""
    asked = parse_as(ScoringSpec, json.dumps(spec))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder, read(system.engine) as session:
            members = [(id, Path(folder) / id) for id in asked.members.ids]
            for id, path in members:
                blobs.fetch(system.engine, snapshots.get(session, id).sha256, path)
            events = list(score(asked, data.load("mnist5k"), members, device=torch.device("cpu")))
    finally:
        torch.set_num_threads(threads)
    (found,) = (event for event in events if isinstance(event, EnsembleMeasured))
    return found.report


def assert_whole(system: System, training: str, ensemble: EnsembleView, *outcomes: Outcome) -> None:
    """The training is what it was, and the ensemble what it is when nothing happens."""
    system.await_final(ensemble.job_id)
    assert [attempt.outcome for attempt in system.attempts(ensemble.job_id)] == list(outcomes)
    found = system.client.ensemble(ensemble.id)
    assert found.report is not None
    assert found.spec is not None
    assert found.report.model_dump(mode="json") == json.loads(json.dumps(undisturbed(system, found.spec)))
    judge_story(system, ensemble.job_id)
    judge(system, {training: TINY})


def test_a_killed_child(system: System) -> None:
    training, ensemble = made(system)

    os.kill(system.await_child(), signal.SIGKILL)

    assert_whole(system, training, ensemble, Outcome.CRASHED, Outcome.SUCCEEDED)
    told = "The scoring process ended with signal 9. The job will go on from the start."
    assert told in system.story(ensemble.job_id)


def test_a_killed_worker(system: System) -> None:
    training, ensemble = made(system)

    system.kill(system.worker)
    system.start_worker()

    assert_whole(system, training, ensemble, Outcome.LOST, Outcome.SUCCEEDED)


@pytest.mark.faults
def test_a_drained_worker(system: System) -> None:
    training, ensemble = made(system)

    assert system.worker.stop() == 0
    system.workers.remove(system.worker)
    system.start_worker()

    assert_whole(system, training, ensemble, Outcome.RELEASED, Outcome.SUCCEEDED)
    assert "The scoring was stopped and handed back; it will go on from the start." in system.story(ensemble.job_id)


@pytest.mark.faults
def test_a_pause_and_a_resume(system: System) -> None:
    training, ensemble = made(system)

    system.client.pause(ensemble.job_id)
    await_true(lambda: system.status(ensemble.job_id) == "paused", 30)
    system.client.resume(ensemble.job_id)

    assert_whole(system, training, ensemble, Outcome.RELEASED, Outcome.SUCCEEDED)


def test_a_cancel_leaves_an_ensemble_without_scores_that_can_be_tried_again(system: System) -> None:
    training, ensemble = made(system)

    system.client.cancel(ensemble.job_id)
    system.await_final(ensemble.job_id)
    cancelled = system.client.ensemble(ensemble.id)
    system.client.retry(ensemble.job_id, "start")

    assert (cancelled.status, cancelled.scores) == ("cancelled", None)
    assert_whole(system, training, ensemble, Outcome.CANCELLED, Outcome.SUCCEEDED)
