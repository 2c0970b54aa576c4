"""Time by the database's clock, the only one that all workers share."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Dialect, Float, String, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TIMESTAMP, TypeDecorator, TypeEngine

SQLITE_NOW = "'%Y-%m-%dT%H:%M:%fZ', 'now'"


class Timestamp(TypeDecorator[datetime]):
    """Aware datetimes in UTC. SQLite keeps text of fixed width, so that its order is the order of time."""

    impl = TIMESTAMP
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """`TIMESTAMP WITH TIME ZONE` where there is one."""
        own = String(24) if dialect.name == "sqlite" else TIMESTAMP(timezone=True)
        return dialect.type_descriptor(own)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """A datetime as the database has it."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """An aware datetime in UTC."""
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.astimezone(UTC)


class now(FunctionElement[datetime]):
    """This moment, not the start of the transaction."""

    type = Timestamp()
    inherit_cache = True


class _shifted(FunctionElement[datetime]):
    type = Timestamp()
    inherit_cache = True


def from_now(seconds: float) -> FunctionElement[datetime]:
    """The moment `seconds` after now."""
    return _shifted(literal(float(seconds), Float))


def ago(seconds: float) -> FunctionElement[datetime]:
    """The moment `seconds` before now."""
    return from_now(-seconds)


class seconds_between(FunctionElement[float]):
    """Seconds from one moment to another: `seconds_between(start, end)`."""

    type = Float()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **options: Any) -> str:
    return f"strftime({SQLITE_NOW})"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **options: Any) -> str:
    return "clock_timestamp()"


@compiles(_shifted, "sqlite")
def _shifted_sqlite(element: _shifted, compiler: SQLCompiler, **options: Any) -> str:
    return f"strftime({SQLITE_NOW}, {compiler.process(element.clauses, **options)} || ' seconds')"


@compiles(_shifted, "postgresql")
def _shifted_postgresql(element: _shifted, compiler: SQLCompiler, **options: Any) -> str:
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)}))"


@compiles(seconds_between, "sqlite")
def _between_sqlite(element: seconds_between, compiler: SQLCompiler, **options: Any) -> str:
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    return f"((julianday({end}) - julianday({start})) * 86400)"


@compiles(seconds_between, "postgresql")
def _between_postgresql(element: seconds_between, compiler: SQLCompiler, **options: Any) -> str:
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    return f"CAST(extract(epoch FROM {end} - {start}) AS double precision)"
