"""The schema's version: brought up to date, taken down, checked."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

import migrations
from app import __version__
from app.store import datasets
from app.store.engine import create, patient, retry
from trainer import data
from trainer.datasets.bundled import describe

LOCK = 0x616E6E65
"""Of all advisory locks, the one that migrations hold."""


class SchemaMismatch(Exception):
    """The database is not at this code's version: `detail` says how, `remedy` what to do, the message both."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(f"{detail}: {remedy}")
        self.detail = detail
        self.remedy = remedy


def upgrade(url: str, revision: str = "head") -> None:
    """Bring a database up to a revision; many may try at once. Bundled data sets are made known.

    Raises `SchemaMismatch` for one that is newer than this code.
    """
    engine = create(url)
    try:
        with _exclusively(engine) as connection:
            _refuse_newer(_version(connection))
            command.upgrade(config(connection), revision)
        if revision == "head":
            retry(engine, _register_bundled)
    finally:
        engine.dispose()


def downgrade(url: str, revision: str) -> None:
    """Take a database down to a revision, `base` for an empty one."""
    engine = create(url)
    with _exclusively(engine) as connection:
        command.downgrade(config(connection), revision)
    engine.dispose()


def check_schema(engine: Engine) -> None:
    """Raise `SchemaMismatch` unless the database is at this code's version."""
    head = revisions()[0]
    with engine.connect() as connection:
        current = _version(connection)
    _refuse_newer(current)
    if current != head:
        detail = f"The database is at version {current or 'none'} and this program needs {head}"
        raise SchemaMismatch(detail, "run `annealer migrate`.")


def _version(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(current: str | None) -> None:
    if current is None or current in revisions():
        return
    head = revisions()[0]
    detail = f"The database is at version {current}, and this program, Annealer {__version__}, knows none after {head}"
    raise SchemaMismatch(detail, "upgrade this program, it is older than the database.")


@cache
def revisions() -> tuple[str, ...]:
    """Every version of the schema that this code knows, its own first."""
    return tuple(script.revision for script in ScriptDirectory.from_config(config()).walk_revisions())


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file."""
    made = Config()
    made.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


class _exclusively:
    """A transaction in which nobody else migrates."""

    def __init__(self, engine: Engine) -> None:
        self._connection = patient(engine).execution_options(immediate=True).connect()

    def __enter__(self) -> Connection:
        connection = self._connection
        if connection.dialect.name == "sqlite":
            # Rebuilding a table drops the old one, and no row that refers to it may go along.
            connection.connection.execute("PRAGMA foreign_keys = OFF")
        connection.begin()
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        return connection

    def __exit__(self, kind: object, *_: object) -> None:
        transaction = self._connection.get_transaction()
        if transaction is not None and transaction.is_active:
            transaction.rollback() if kind else transaction.commit()
        self._connection.close()


def _register_bundled(session: Session) -> None:
    for name in data.BUNDLED:
        datasets.register(session, describe(data.load(name)))
