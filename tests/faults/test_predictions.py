"""What may happen to predictions: whoever waits has the right answer in the end, and what is done leaves nothing."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import redis

from app.api.schemas import PredictionsView
from app.questions import GROUP, STREAM
from tests.faults.judge import judge
from tests.faults.service import TINY
from tests.faults.system import System
from tests.servers import PredictionWorker, await_true
from trainer import data

IMAGES = data.load("mnist5k").validation.images[:20]
ASKERS = 4
PATIENCE = 60.0
"""Seconds that a client tries again."""


def worker(system: System, name: str) -> PredictionWorker:
    """A prediction worker that reaches everything through the proxies."""
    return PredictionWorker(system.folder, system.proxied_url, system.proxied_broker_url, name=name)


@contextmanager
def asked_all_the_time(system: System, job_id: str) -> Iterator[list[PredictionsView]]:
    """Several clients that ask again and again; what they were answered is complete when they have stopped."""
    over = threading.Event()
    answers: list[PredictionsView] = []

    def ask() -> None:
        while not over.is_set():
            answers.append(system.client.predict_array(job_id, IMAGES, patience=PATIENCE))

    with ThreadPoolExecutor(ASKERS) as pool:
        asking = [pool.submit(ask) for _ in range(ASKERS)]
        await_true(lambda: len(answers) >= ASKERS, 30)
        try:
            yield answers
        finally:
            over.set()
        for one in asking:
            one.result(2 * PATIENCE)


def assert_whole(system: System, job_id: str, answers: list[PredictionsView], right: PredictionsView) -> None:
    """Every answer is what it is when nothing happens, and nobody waits any more.

    What is run in one batch with others' images may differ in the last bits.
    """
    assert len(answers) > 2 * ASKERS
    for answer in answers:
        assert [item.label for item in answer.items] == [item.label for item in right.items]
        np.testing.assert_allclose(probabilities(answer), probabilities(right), rtol=0, atol=1e-6)
    with redis.Redis.from_url(system.valkey.url) as broker:
        await_true(lambda: broker.xlen(STREAM) == 0, 10)
        assert broker.xpending(STREAM, GROUP)["pending"] == 0
    judge(system, {job_id: TINY})


def probabilities(answer: PredictionsView) -> list[list[float] | None]:
    return [item.probabilities for item in answer.items]


def trained(system: System) -> str:
    job_id = system.submit()
    system.await_final(job_id)
    return job_id


def test_prediction_workers_that_are_killed_one_after_another(system: System) -> None:
    job_id = trained(system)
    with worker(system, "steady"):
        right = system.client.predict_array(job_id, IMAGES)
        with asked_all_the_time(system, job_id) as answers:
            for number in range(3):
                with worker(system, f"doomed {number}") as doomed:
                    count = len(answers)
                    await_true(lambda count=count: len(answers) > count + ASKERS, 30)  # type: ignore[misc]
                    doomed.kill()

    assert_whole(system, job_id, answers, right)


@pytest.mark.faults
def test_a_broker_that_dies_while_predictions_are_asked_for(system: System) -> None:
    job_id = trained(system)
    with worker(system, "steady"):
        right = system.client.predict_array(job_id, IMAGES)
        with asked_all_the_time(system, job_id) as answers:
            for _ in range(3):
                system.valkey.kill()
                time.sleep(1)
                system.valkey.start()
                count = len(answers)
                await_true(lambda count=count: len(answers) > count + ASKERS, 30)  # type: ignore[misc]

    assert_whole(system, job_id, answers, right)


@pytest.mark.faults
def test_a_database_that_is_away_while_predictions_are_asked_for(on_postgresql: System) -> None:
    job_id = trained(on_postgresql)
    with worker(on_postgresql, "steady"):
        right = on_postgresql.client.predict_array(job_id, IMAGES)
        with asked_all_the_time(on_postgresql, job_id) as answers:
            on_postgresql.database.refuse()
            time.sleep(3)
            on_postgresql.database.heal()
            count = len(answers)
            await_true(lambda: len(answers) > count + ASKERS, 30)

    assert_whole(on_postgresql, job_id, answers, right)
