"""What a bell does that cannot be answered."""

import sqlite3
from typing import Any

import pytest
from celery import Celery
from sqlalchemy.exc import OperationalError, ProgrammingError
from structlog.testing import capture_logs

from app import queue
from worker import tasks


def ring(monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[Any]:
    """Ring once at a worker whose work ends with an error; what it logs."""

    def work(station: object) -> None:
        raise error

    monkeypatch.setattr(tasks, "work", work)
    celery = Celery(set_as_current=False)
    station: Any = object()
    tasks.bind(celery, station)
    with capture_logs() as logged:
        celery.tasks[queue.TASK]("cpu")
    return logged


def test_a_database_that_is_away_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode, busy.sqlite_errorname = sqlite3.SQLITE_BUSY, "SQLITE_BUSY"

    (line,) = ring(monkeypatch, OperationalError("", {}, busy))

    assert (line["event"], line["log_level"]) == ("database is away", "warning")


def test_a_mistake_of_our_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProgrammingError):
        ring(monkeypatch, ProgrammingError("", {}, Exception("no such column")))
