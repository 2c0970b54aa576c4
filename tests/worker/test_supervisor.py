"""The supervisor where the database refuses what it is told, without processes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.queue import Bell
from app.store import attempts
from app.store import engine as engines
from app.store.models import Attempt
from app.store.states import Outcome, Status
from tests.shop import Shop
from trainer.events import PhaseStarted, TrainingFinished
from worker.execute import Supervisor
from worker.settings import WorkerSettings
from worker.station import Station
from worker.wire import Message, encode


class Child:
    """Reports what it was given and ends in peace."""

    def __init__(self, messages: list[bytes]) -> None:
        self._messages = iter(messages)

    def receive(self) -> bytes | None:
        """The next message."""
        return next(self._messages, None)

    def join(self) -> int:
        """It has ended."""
        return 0

    def kill(self) -> None:
        """It has ended."""


@pytest.fixture
def shop(sqlite_url: str) -> Iterator[Shop]:
    made = Shop(engines.create(sqlite_url))
    yield made
    made.engine.dispose()


def test_a_training_whose_last_reports_cannot_be_stored_has_not_finished(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = WorkerSettings(scratch=tmp_path / "scratch", device="cpu")
    station = Station(shop.engine, Bell("redis://127.0.0.1:1/0"), settings, ())
    station.open_scratch()
    told = [encode(Message(PhaseStarted("saving"))), encode(Message(TrainingFinished(1)))]
    monkeypatch.setattr("worker.forkserver.start", lambda *_: Child(told))

    def refuse(*_: Any) -> None:
        raise RuntimeError("refused")

    monkeypatch.setattr(attempts, "record", refuse)
    claim = shop.claimed()

    Supervisor(station, claim, "cpu").run()

    assert shop.job(claim.job_id).status is Status.QUEUED
    with shop.look() as session:
        outcome = session.scalar(select(Attempt.outcome))
    assert outcome is Outcome.CRASHED
