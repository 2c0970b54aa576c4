"""Looking for work that cannot be looked for."""

import sqlite3
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError
from structlog.testing import capture_logs

from worker.execute import work


class Station:
    """One that takes jobs, and cannot choose any."""

    takes_jobs = True

    def __init__(self, error: Exception) -> None:
        self.error = error

    @property
    def devices(self) -> None:
        raise self.error


def looked(error: Exception) -> list[Any]:
    """What is logged when looking for work ends with an error."""
    station: Any = Station(error)
    with capture_logs() as logged:
        work(station)
    return logged


def test_a_database_that_is_away_is_said_in_one_line() -> None:
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode, busy.sqlite_errorname = sqlite3.SQLITE_BUSY, "SQLITE_BUSY"

    (line,) = looked(OperationalError("", {}, busy))

    assert (line["event"], line["log_level"]) == ("database is away", "warning")


def test_a_mistake_of_our_own_is_not_hidden() -> None:
    with pytest.raises(ProgrammingError):
        looked(ProgrammingError("", {}, Exception("no such column")))
