"""Transactions that are kept, undone, and tried again."""

import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, exc, make_url, text

from app.store import engine as engines
from app.store.engine import STATEMENT_SECONDS, is_unavailable, read, retry, write
from app.store.line import QUIET_SECONDS, SILENCE_SECONDS
from app.store.models import Dataset
from tests.faults.proxy import Proxy
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


@pytest.fixture
def behind(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Engine, Proxy]]:
    """An engine that is soon out of patience, and the proxy through which it reaches its server."""
    monkeypatch.setattr("app.store.line.SILENCE_SECONDS", 0.5)
    monkeypatch.setattr("app.store.line.PING_SECONDS", 0.5)
    monkeypatch.setattr("app.store.engine.CONNECT_SECONDS", 2)
    url = make_url(postgresql_url)
    with Proxy(f"{url.query['host']}/.s.PGSQL.5432") as proxy:
        made = engines.create(url.set(host="127.0.0.1", port=proxy.port, query={}).render_as_string(False))
        yield made, proxy
        made.dispose()


def asked(engine: Engine, question: str = "SELECT 1") -> tuple[object, float]:
    """The answer, or the error, and the seconds that it took."""
    began = time.monotonic()
    try:
        with engine.connect() as connection:
            answer: object = connection.scalar(text(question))
    except exc.SQLAlchemyError as error:
        answer = error
    return answer, time.monotonic() - began


def test_a_server_that_says_nothing_is_given_up_and_found_again(behind: tuple[Engine, Proxy]) -> None:
    engine, proxy = behind
    assert asked(engine)[0] == 1

    proxy.stall()
    in_hand, in_hand_took = asked(engine)
    connecting, connecting_took = asked(engine)
    again, again_took = asked(engine)
    proxy.heal()
    proxy.cut()
    time.sleep(QUIET_SECONDS)

    for error in (in_hand, connecting, again):
        assert isinstance(error, exc.OperationalError)
        assert is_unavailable(error)
    # It notices that its connection is dead, and tries another.
    assert in_hand_took < 8
    assert connecting_took < 5
    assert again_took < 5
    assert asked(engine)[0] == 1


def test_only_a_patient_engine_waits_for_what_takes_long(behind: tuple[Engine, Proxy]) -> None:
    engine, _ = behind
    slow = "SELECT 1 FROM pg_sleep(1)"

    hasty, _ = asked(engine, slow)
    waited, took = asked(engines.patient(engine), slow)

    assert isinstance(hasty, exc.OperationalError)
    assert is_unavailable(hasty)
    assert (waited, took > 1) == (1, True)


def test_the_server_ends_a_statement_that_takes_too_long_unless_asked_by_a_patient_engine(
    behind: tuple[Engine, Proxy],
) -> None:
    engine, _ = behind

    assert asked(engine, "SHOW statement_timeout")[0] == f"{STATEMENT_SECONDS}s"
    assert asked(engines.patient(engine), "SHOW statement_timeout")[0] == "0"
    assert asked(engine, "SHOW statement_timeout")[0] == f"{STATEMENT_SECONDS}s"
    assert STATEMENT_SECONDS < SILENCE_SECONDS


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
