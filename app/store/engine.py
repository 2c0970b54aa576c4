"""Connections and transactions, on PostgreSQL and SQLite alike."""

import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session

from app.store.errors import StorageAway
from app.store.line import CONNECT_SECONDS, Dialler, Line

T = TypeVar("T")

BUSY_SECONDS = 10
POOL_SECONDS = 10
TRIES = 6
STATEMENT_SECONDS = 10
"""PostgreSQL: how long a statement may take, waiting for locks included. Only a patient engine's have no end."""
DEAD_LINES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 10_000}
"""PostgreSQL: a connection whose other end is gone without a word is given up in seconds, not a quarter of an hour."""
GONE_SECONDS = 10
"""PostgreSQL: how long a transaction may do nothing. A machine that is gone in the middle of one leaves its locks."""
GONE_CLIENTS = f"-c idle_in_transaction_session_timeout={GONE_SECONDS}s -c tcp_user_timeout={GONE_SECONDS}s"
TRANSIENT = {"40001", "40P01", "55P03"}
"""PostgreSQL: serialization failure, deadlock, lock not available."""
SQLITE_AWAY = ("SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_LOCKED", "SQLITE_PROTOCOL")


def create(url: str, contents: str | None = None) -> Engine:
    """An engine for a database URL, `sqlite:///…` or `postgresql+psycopg://…`.

    `contents` is where new blobs go, as `app.store.objects` has it; None for the database.
    """
    engine = _sqlite(url) if make_url(url).get_backend_name() == "sqlite" else _postgresql(url)
    engine.update_execution_options(contents=contents)
    return engine


def contents(engine: Engine) -> str | None:
    """Where new blobs go; None for the database."""
    place: str | None = engine.get_execution_options()["contents"]
    return place


def patient(engine: Engine) -> Engine:
    """The same engine for statements that may take their time: migrations, and looking through all that is stored."""
    return engine.execution_options(patient=True)


@contextmanager
def read(engine: Engine) -> Iterator[Session]:
    """A session that sees one state of the database and changes nothing."""
    with Session(engine) as session:
        yield session


@contextmanager
def write(engine: Engine) -> Iterator[Session]:
    """A session whose work is committed at the end, all of it or nothing.

    On SQLite the write lock is taken at the start: a transaction that reads first and is refused its later write
    would have to be done again.
    """
    with (
        Session(engine.execution_options(immediate=True), expire_on_commit=False) as session,
        session.begin(),
    ):
        yield session


def retry(engine: Engine, work: Callable[[Session], T]) -> T:
    """`work` in a transaction, again from the start when another transaction was in its way."""
    for attempt in range(1, TRIES):
        try:
            with write(engine) as session:
                return work(session)
        except exc.DBAPIError as error:
            if not _is_transient(error):
                raise
            time.sleep(random.uniform(0, 0.05) * 2**attempt)
    with write(engine) as session:
        return work(session)


def insert_unless_there(session: Session, table: type[DeclarativeBase], values: Mapping[str, object]) -> None:
    """Insert a row, unless one with the same key is there, or is made at this moment by another, who is waited for."""
    dialect = session.get_bind().dialect.name
    statement = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    session.execute(statement.values(values).on_conflict_do_nothing())


def is_unavailable(error: BaseException) -> bool:
    """Whether an error means that the database or storage is away or overloaded, not that the statement was wrong."""
    if isinstance(error, exc.TimeoutError | StorageAway):
        return True
    if not isinstance(error, exc.OperationalError | exc.InterfaceError):
        return isinstance(error, exc.DBAPIError) and error.connection_invalidated
    if isinstance(error.orig, sqlite3.Error):
        return error.orig.sqlite_errorname.startswith(SQLITE_AWAY)
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state[:2] in {"08", "53", "57"} or state in TRANSIENT


def _is_transient(error: exc.DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in TRANSIENT or "database is locked" in str(error.orig)


def _postgresql(url: str) -> Engine:
    arguments = {"connect_timeout": CONNECT_SECONDS, "application_name": "annealer", **DEAD_LINES}
    engine = create_engine(
        url, pool_size=10, max_overflow=30, pool_timeout=POOL_SECONDS, pool_pre_ping=True, connect_args=arguments
    )
    dialler = Dialler(f"{GONE_CLIENTS} -c statement_timeout={STATEMENT_SECONDS}s")

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, words: list[Any], options: dict[str, Any]) -> Line:
        return dialler.connect(*words, **options)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        is_patient = bool(connection.get_execution_options().get("patient"))
        line: Any = connection.connection.dbapi_connection
        line.is_busy(patient=is_patient)
        if is_patient:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")

    @event.listens_for(engine, "checkin")
    def rest(line: Line | None, _record: object) -> None:
        if line is not None:
            line.is_idle()

    return engine


def _sqlite(url: str) -> Engine:
    # isolation_level None: the driver leaves BEGIN to us.
    arguments = {"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False}
    engine = create_engine(url, pool_size=10, max_overflow=30, connect_args=arguments)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        _use_wal(connection)
        # A commit is on the disk before it is answered, whatever happens to the power.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Once in the life of a database. SQLite does not wait for its turn here, and so we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)
