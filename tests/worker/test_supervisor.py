"""The supervisor where the database refuses what it is told, without processes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.queue import Bell
from app.store import attempts, sweep
from app.store import engine as engines
from app.store.models import Attempt, Blob, Checkpoint
from app.store.states import Outcome, Status
from tests.shop import Shop
from trainer.events import CheckpointReady, PhaseStarted, TrainingFinished
from worker.machine import Machine
from worker.order import Order
from worker.settings import WorkerSettings
from worker.station import Station
from worker.supervisor import Supervisor
from worker.wire import Failed, Message, encode


class FakeTeam:
    """Reports what it was given and ends in peace."""

    def __init__(self, messages: list[bytes]) -> None:
        self._messages = iter(messages)

    def receive(self) -> bytes | None:
        """The next message."""
        return next(self._messages, None)

    def join(self) -> tuple[int, None]:
        """It has ended."""
        return 0, None

    def kill(self) -> None:
        """It has ended."""


@pytest.fixture
def shop(sqlite_url: str) -> Iterator[Shop]:
    made = Shop(engines.create(sqlite_url))
    yield made
    made.engine.dispose()


@pytest.fixture
def station(shop: Shop, tmp_path: Path) -> Station:
    settings = WorkerSettings(scratch=tmp_path / "scratch", device="cpu")
    machine = Machine((), 1, {"cpu": ("float32",)})
    made = Station(shop.engine, Bell("redis://127.0.0.1:1/0"), settings, machine)
    made.open_scratch()
    return made


def test_who_has_been_replaced_writes_nothing(shop: Shop, station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = shop.claimed()

    def start(orders: list[Order], _output: object) -> FakeTeam:
        """Another worker has taken the job by the time that the first checkpoint is there."""
        (order,) = orders
        (order.scratch / "checkpoint").write_bytes(b"weights")
        shop.act(sweep.rescue_of, "work_1")
        return FakeTeam([encode(Message(CheckpointReady(1, 10, {}, {}), "checkpoint"))])

    monkeypatch.setattr("worker.supervisor.Team", start)

    Supervisor(station, claim, ("cpu",)).run()

    with shop.look() as session:
        assert session.scalars(select(Blob)).all() == []
        assert session.scalars(select(Checkpoint)).all() == []
    assert shop.job(claim.job_id).status is Status.QUEUED


def test_a_training_whose_last_reports_cannot_be_stored_has_not_finished(
    shop: Shop, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [encode(Message(PhaseStarted("saving"))), encode(Message(TrainingFinished(1)))]
    monkeypatch.setattr("worker.supervisor.Team", lambda *_: FakeTeam(told))

    def refuse(*_: Any) -> None:
        raise RuntimeError("refused")

    monkeypatch.setattr(attempts, "record", refuse)
    claim = shop.claimed()

    Supervisor(station, claim, ("cpu",)).run()

    assert shop.job(claim.job_id).status is Status.QUEUED
    with shop.look() as session:
        outcome = session.scalar(select(Attempt.outcome))
    assert outcome is Outcome.CRASHED


def test_a_failure_that_no_retry_can_help_goes_before_a_pause(
    shop: Shop, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = shop.claimed()
    supervisor = Supervisor(station, claim, ("cpu",))
    diverged = Failed("diverged", "loss_not_finite", "The loss became nan.", {}, None, 3)

    def start(*_: object) -> FakeTeam:
        """The wish comes while the training runs."""
        supervisor._keeper.pausing.set()
        return FakeTeam([encode(Message(diverged))])

    monkeypatch.setattr("worker.supervisor.Team", start)

    supervisor.run()

    job = shop.job(claim.job_id)
    assert (job.status, job.failure_code) == (Status.FAILED, "loss_not_finite")
