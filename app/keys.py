"""`annealer keys`: who may come in, made and revoked in the database itself.

Whoever reaches the database may do so: this is how the first key is made.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from app.store.scopes import Scope

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

BAD_INPUT, UNREACHABLE, REFUSED = 2, 5, 6

T = TypeVar("T")

commands = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True, rich_markup_mode=None)

Data = Annotated[
    Path | None,
    typer.Option(
        help="The folder of `annealer up`; default: the database at $ANNEALER_DATABASE_URL, else annealer-data."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@commands.command()
def create(
    name: Annotated[str, typer.Option(help="What the key is for, for people.")],
    owner: Annotated[str, typer.Option(help="Whose jobs are submitted and seen with it.")],
    scope: Annotated[Scope, typer.Option(help="Each allows what those before it allow; admin sees all owners' jobs.")],
    expires: Annotated[float | None, typer.Option(metavar="DAYS", help="Days that it opens anything.")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once."""
    from pydantic import ValidationError

    from app.api.schemas import KeyRequest, NewKeyView
    from app.api.views import key_view
    from app.store import keys

    try:
        asked = KeyRequest(name=name, owner=owner, scope=scope, expires_days=expires)
    except ValidationError as error:
        mistakes = [f"--{str(one['loc'][0]).removesuffix('_days')}: {one['msg']}." for one in error.errors()]
        raise _refused("\n".join(mistakes), BAD_INPUT) from None

    def make(session: "Session") -> NewKeyView:
        made, text = keys.create(session, **asked.model_dump())
        return NewKeyView(**key_view(made).model_dump(), key=text)

    view = _in_database(data, make)
    if as_json:
        typer.echo(view.model_dump_json(indent=2))
        return
    typer.echo(view.key)
    typer.echo("Keep it: it is not shown again. Set ANNEALER_KEY to it for the command line and the client.", err=True)


@commands.command()
def first(data: Data = None) -> None:
    """Let $ANNEALER_FIRST_KEY be an admin's key where no key was ever made; harmless where one was."""
    from app import keytext
    from app.store import keys
    from app.store.jobs import DEFAULT_OWNER

    def make(session: "Session") -> str:
        if keys.all_of_them(session):
            return "There are keys; ANNEALER_FIRST_KEY is not looked at."
        text = os.environ.get("ANNEALER_FIRST_KEY", "").strip()
        if not text:
            raise _refused("There are no keys yet and ANNEALER_FIRST_KEY is not set: see .env.example.", BAD_INPUT)
        if not keytext.is_random(text):
            told = "ANNEALER_FIRST_KEY is not ann_, 8 letters or digits, _ and 32 random ones: see .env.example."
            raise _refused(told, BAD_INPUT)
        made, _ = keys.create(session, name="first", owner=DEFAULT_OWNER, scope=Scope.ADMIN, text=text)
        return f"Made the first key, {made.id}, from ANNEALER_FIRST_KEY."

    typer.echo(_in_database(data, make))


@commands.command("list")
def list_keys(data: Data = None, as_json: AsJson = False) -> None:
    """List keys, the oldest first, those that open nothing any more included."""
    from app import screen
    from app.api.schemas import KeyList
    from app.api.views import key_view
    from app.store import keys

    found = _in_database(data, lambda session: KeyList(items=[key_view(key) for key in keys.all_of_them(session)]))
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        screen.console().print(screen.key_table(found.items))


@commands.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a key.", show_default=False)], data: Data = None
) -> None:
    """Let a key open nothing any more, from the next request on."""
    from app.store import keys

    _in_database(data, lambda session: keys.revoke(session, key_id))
    typer.echo("revoked")


def _in_database(data: Path | None, work: "Callable[[Session], T]") -> T:
    """`work` in a transaction on the database that is meant."""
    from app.store import engine as engines
    from app.store import migrate

    engine = engines.create(_database_url(data))
    try:
        with _refusals():
            migrate.check_schema(engine)
            return engines.retry(engine, work)
    finally:
        engine.dispose()


def _database_url(data: Path | None) -> str:
    from app.embedded import DATABASE, database_url

    url = os.environ.get("ANNEALER_DATABASE_URL")
    if data is None and url:
        return url
    folder = data or Path("annealer-data")
    if not (folder / DATABASE).exists():
        raise _refused(f"There is no database in {folder}/: name a folder with --data, or set ANNEALER_DATABASE_URL.")
    return database_url(folder)


@contextmanager
def _refusals() -> Iterator[None]:
    """What stands in the way becomes a sentence and an exit code."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.store.errors import StoreError
    from app.store.migrate import SchemaMismatch

    try:
        yield
    except (SchemaMismatch, StoreError) as error:
        raise _refused(str(error), REFUSED) from None
    except SQLAlchemyError as error:
        raise _refused(f"The database cannot be used ({type(error).__name__}).", UNREACHABLE) from None


def _refused(sentence: str, code: int = BAD_INPUT) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(code)
