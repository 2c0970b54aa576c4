"""`annealer keys`: who may come in, made and revoked in the database itself.

Whoever reaches the database may do so: this is how the first key is made.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from app.commands import place
from app.commands.place import Data
from app.commands.terminal import BAD_INPUT, AsJson, refused
from app.store.scopes import Scope

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

T = TypeVar("T")

commands = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True, rich_markup_mode=None)


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
        raise refused("\n".join(mistakes), BAD_INPUT) from None

    def make(session: "Session") -> NewKeyView:
        made, text = keys.create(session, **asked.model_dump())
        return NewKeyView(**key_view(made).model_dump(), key=text)

    view = _in_database(data, make)
    if as_json:
        typer.echo(view.model_dump_json(indent=2))
        return
    typer.echo(view.key)
    typer.echo("Keep it: it is not shown again. Set ANNEALER_KEY to it for the command line and the client.", err=True)
    typer.echo("A server asks for keys where ANNEALER_KEYS=required; `annealer up` does only if that is set.", err=True)


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
            raise refused("There are no keys yet and ANNEALER_FIRST_KEY is not set: see .env.example.", BAD_INPUT)
        if not keytext.is_random(text):
            told = "ANNEALER_FIRST_KEY is not ann_, 8 letters or digits, _ and 32 random ones: see .env.example."
            raise refused(told, BAD_INPUT)
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
    from app.store.engine import retry

    with place.database(data) as engine:
        return retry(engine, work)
