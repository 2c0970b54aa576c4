"""Which service a command is about: a folder's, or the one that the environment names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.terminal import BAD_INPUT, REFUSED, UNREACHABLE, refused

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from app.doctor import Place

USUAL = Path("annealer-data")

Data = Annotated[
    Path | None,
    typer.Option(help=f"The folder of `annealer up`; default: the database at $ANNEALER_DATABASE_URL, else {USUAL}."),
]
Folder = Annotated[Path, typer.Option(help="The folder of `annealer up`.")]


def find(data: Path | None) -> "Place":
    """The service in a folder, or the one that the environment names, or the one in the usual folder."""
    from app.doctor import Place, scratch_folders
    from app.embedded import DATABASE, broker_url, database_url

    url = os.environ.get("ANNEALER_DATABASE_URL")
    if data is None and url is None and (USUAL / DATABASE).exists():
        data = USUAL
    broker = os.environ.get("ANNEALER_BROKER_URL")
    if data is None:
        return Place(url, broker, scratch_folders())
    if not (data / DATABASE).exists():
        raise refused(f"There is no service in {data}: `annealer up --data {data}` makes one.", BAD_INPUT)
    return Place(database_url(data), broker or broker_url(data), (data,))


@contextmanager
def database(data: Path | None, contents: str | None = None) -> "Iterator[Engine]":
    """The engine of the database that is meant, with the schema that this version needs; new blobs go to `contents`."""
    from app.store import engine as engines
    from app.store import migrate

    url = find(data).database_url
    if url is None:
        raise refused(
            f"There is no service in {USUAL}, and ANNEALER_DATABASE_URL names no database; name the folder of "
            "`annealer up` with --data.",
            BAD_INPUT,
        )
    engine = engines.create(url, contents)
    try:
        with refusals():
            migrate.check_schema(engine)
            yield engine
    finally:
        engine.dispose()


@contextmanager
def refusals() -> Iterator[None]:
    """What stands in the way becomes a sentence and an exit code."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.backup import CannotBackUp
    from app.embedded import CannotStart
    from app.store.errors import StoreError
    from app.store.migrate import SchemaMismatch

    try:
        yield
    except (CannotBackUp, CannotStart, SchemaMismatch, StoreError) as error:
        raise refused(str(error), REFUSED) from None
    except SQLAlchemyError as error:
        sentence = f"The database cannot be used ({type(error).__name__}); `annealer doctor` tells more."
        raise refused(sentence, UNREACHABLE) from None
