"""Transactions that are kept, undone, and tried again."""

import threading

import pytest
from sqlalchemy import Engine, exc, text

from app.store import engine as engines
from app.store.engine import is_unavailable, read, retry, write
from app.store.models import Dataset
from tests.shop import Shop


def rename(session: object, name: str) -> None:
    rename = text("UPDATE datasets SET name = :name WHERE channels * height * width = 784")
    session.execute(rename, {"name": name})  # type: ignore[attr-defined]


def names(engine: Engine) -> list[str]:
    with read(engine) as session:
        return [dataset.name for dataset in session.query(Dataset) if dataset.name != "gaussian"]


def test_a_transaction_that_fails_leaves_nothing(engine: Engine) -> None:
    def fail() -> None:
        with write(engine) as session:
            rename(session, "other")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert names(engine) == ["mnist5k"]


def test_a_transaction_in_the_way_is_waited_for(engine: Engine) -> None:
    began, done = threading.Event(), []

    def slow() -> None:
        with write(engine) as session:
            rename(session, "slow")
            began.set()
            done.append("slow")

    thread = threading.Thread(target=slow)
    thread.start()
    began.wait(10)
    retry(engine, lambda session: rename(session, "quick"))
    thread.join()

    assert names(engine) == ["quick"]


def test_a_deadlock_or_a_busy_database_is_tried_again(engine: Engine) -> None:
    calls = []

    class Deadlock(Exception):
        sqlstate = "40P01"

    def work(session: object) -> str:
        calls.append(1)
        rename(session, f"try{len(calls)}")
        if len(calls) < 3:
            raise exc.OperationalError("…", {}, Deadlock("database is locked"))
        return "done"

    assert retry(engine, work) == "done"
    assert names(engine) == ["try3"]


def test_other_errors_are_not_tried_again(engine: Engine) -> None:
    calls = []

    def work(session: object) -> None:
        calls.append(1)
        session.execute(text("SELECT nonsense"))  # type: ignore[attr-defined]

    with pytest.raises(exc.DBAPIError):
        retry(engine, work)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://nobody@127.0.0.1:1/none", "sqlite:////nowhere/at/all.sqlite"],
)
def test_a_database_that_is_away_is_told_from_a_wrong_statement(url: str, engine: Engine) -> None:
    def ask(database: Engine, statement: str) -> None:
        with read(database) as session:
            session.execute(text(statement))

    with pytest.raises(exc.DBAPIError) as away:
        ask(engines.create(url), "SELECT 1")
    with pytest.raises(exc.DBAPIError) as wrong:
        ask(engine, "SELECT 1 FROM nowhere_at_all")

    assert is_unavailable(away.value)
    assert not is_unavailable(wrong.value)


def test_sqlite_keeps_what_was_committed_and_its_references(shop: Shop) -> None:
    if shop.engine.dialect.name != "sqlite":
        return
    with shop.engine.connect() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert pragmas == ["wal", 2, 1]


def test_a_transaction_that_does_nothing_ends_and_lets_others_pass(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client may be a machine that is gone, of which the server has not heard."""
    monkeypatch.setattr(engines, "GONE_CLIENTS", "-c idle_in_transaction_session_timeout=100ms")
    engine = engines.create(postgresql_url)
    lock = text("SELECT pg_advisory_xact_lock(7)")
    try:
        with engine.connect() as gone, engine.connect() as other:
            gone.execute(lock)
            other.execute(lock)
            with pytest.raises(exc.DBAPIError) as ended:
                gone.execute(text("SELECT 1"))
        assert is_unavailable(ended.value)
    finally:
        engine.dispose()
