"""What a training process prints reaches the job's log, whatever becomes of the process."""

import os
import re
import signal
from typing import Any

import pytest
from sqlalchemy import Engine, exc, update

from app.queue import Bell
from app.store import attempts, logs
from app.store.clock import ago
from app.store.engine import write
from app.store.errors import Fenced
from app.store.models import Job
from app.store.states import Status
from tests.servers import await_true
from tests.shop import Shop
from tests.worker.conftest import Plant
from tests.worker.watching import LONG, await_epoch, await_status
from worker.machine import Machine
from worker.output import PENDING_BYTES, Output
from worker.settings import WorkerSettings
from worker.station import Station

MACHINE = Machine((), 1, {"cpu": ("float32",)})


def output(shop: Shop, job_id: str) -> dict[int, str]:
    """What each attempt has written."""
    with shop.look() as session:
        return {one.attempt: one.data.decode() for one in logs.read(session, job_id, 0, 2**20)}


def await_end(plant: Plant, job: Job, wanted: Status) -> dict[int, str]:
    plant.bell.ring("auto")
    await_status(plant.shop, job, wanted)
    return output(plant.shop, job.id)


def test_a_quiet_training_leaves_two_lines(plant: Plant) -> None:
    written = await_end(plant, plant.shop.submit(), Status.SUCCEEDED)

    first, second = written[1].splitlines()
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"{moment} process \d+: Python 3\.\S+, torch \S+", first)
    assert re.fullmatch(rf"{moment} training on cpu with 1 thread from step 1", second)


def test_a_training_that_fails_says_why(plant: Plant) -> None:
    schedule = {"kind": "constant", "learning_rate": 1000.0}
    momentum = {"kind": "sgd", "momentum": {"form": "classical", "m": 0.99}}
    job = plant.shop.submit(schedule=schedule, optimizer=momentum, ensemble={"kind": "none"})

    written = await_end(plant, job, Status.FAILED)

    assert re.search(r" loss_not_finite: The loss became .*\n$", written[1])


def test_a_crash_leaves_the_stack_of_its_threads_and_the_next_attempt_writes_behind_it(plant: Plant) -> None:
    job = plant.shop.submit(**LONG)
    plant.bell.ring("auto")
    await_epoch(plant.shop, job, 3)
    (child,) = plant.worker.children()

    os.kill(child, signal.SIGSEGV)
    await_status(plant.shop, job, Status.SUCCEEDED)

    written = output(plant.shop, job.id)
    assert "Fatal Python error: Segmentation fault" in written[1]
    assert "worker/child.py" in written[1]
    assert "training on cpu with 1 thread from step " in written[2]
    assert "from step 1\n" not in written[2]


def test_what_was_written_survives_the_worker(own_plant: Plant) -> None:
    job = own_plant.shop.submit(**LONG)
    own_plant.bell.ring("auto")
    await_true(lambda: "training on" in output(own_plant.shop, job.id).get(1, ""), 30)

    own_plant.worker.kill()

    assert "training on cpu" in output(own_plant.shop, job.id)[1]


def test_a_worker_removes_what_is_over_its_limit(own_plant: Plant) -> None:
    old, young = own_plant.shop.submit(epochs=2), own_plant.shop.submit(epochs=2)
    for job in (old, young):
        await_end(own_plant, job, Status.SUCCEEDED)
    with write(own_plant.engine) as session:
        session.execute(update(Job).where(Job.id == old.id).values(finished_at=ago(100 * 86400.0)))

    with own_plant.another() as other:
        await_true(lambda: output(own_plant.shop, old.id) == {}, 30)
        await_true(lambda: "leftover removed" in other.log.read_text(), 5)

    assert "training on" in output(own_plant.shop, young.id)[1]


@pytest.fixture
def station(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Station:
    """A worker's station without a worker."""
    monkeypatch.setenv("ANNEALER_WORKER_BEAT_SECONDS", "0.01")
    monkeypatch.setenv("ANNEALER_WORKER_LOG_BYTES", str(1024 * 1024))
    return Station(engine, Bell("redis://127.0.0.1:1/0"), WorkerSettings(), MACHINE)


class Child:
    """What a child has of its output's pipe."""

    def __init__(self, output: Output) -> None:
        self._pipe = os.dup(output.end.fileno())
        output.begin()

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._pipe, data) :]

    def end(self) -> None:
        os.close(self._pipe)


def test_characters_are_stored_whole_and_a_last_line_without_an_end_too(shop: Shop, station: Station) -> None:
    claim = shop.claimed()
    taken = Output(station, claim)
    child = Child(taken)

    child.write("eins €".encode()[:-1])
    await_true(lambda: output(shop, claim.job_id).get(1) == "eins ", 5)
    child.write("€".encode()[-1:] + b" zwei")
    child.end()
    taken.drain()
    taken.close()

    assert output(shop, claim.job_id) == {1: "eins € zwei"}
    assert taken.tail == "eins € zwei"


def test_a_child_never_waits_for_the_database_and_what_is_lost_is_said(
    shop: Shop, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = shop.claimed()
    taken = Output(station, claim)
    real: Any = logs.append
    is_away = True

    def append(*arguments: Any) -> None:
        if is_away:
            raise exc.TimeoutError
        real(*arguments)

    monkeypatch.setattr(logs, "append", append)
    child = Child(taken)
    child.write(b"x" * (3 * PENDING_BYTES) + b"\nend\n")
    is_away = False
    child.end()
    taken.drain()
    taken.close()

    written = output(shop, claim.job_id)[1]
    assert len(written) < 2 * PENDING_BYTES
    assert re.search(r"\[[\d,]+ bytes are missing here: they came faster", written)
    assert written.endswith("x\nend\n")


def test_a_replaced_attempt_writes_no_output(shop: Shop, station: Station) -> None:
    claim = shop.claimed()
    taken = Output(station, claim)
    child = Child(taken)
    shop.act(attempts.release, claim.job_id, claim.attempt)

    child.write(b"too late\n")
    child.end()
    with pytest.raises(Fenced):
        taken.drain()
    taken.close()

    assert output(shop, claim.job_id) == {}
