"""What the commands share: exit codes, options, and how things are printed."""

import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from app.api.schemas import JobView
    from app.client import Client

PROBLEM, BAD_INPUT, FAILED, CANCELLED, UNREACHABLE, REFUSED = 1, 2, 3, 4, 5, 6
"""Exit codes."""

JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of a job.", show_default=False)]
SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="The spec, YAML or JSON.", show_default=False)]
Url = Annotated[str | None, typer.Option("--url", help="The server; default: $ANNEALER_URL or http://127.0.0.1:8400.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def client(url: str | None) -> "Client":
    from app.client import Client

    return Client(url)


def show(as_json: bool, items: "Iterable[BaseModel]", table: Any) -> None:
    if as_json:
        typer.echo(json.dumps([item.model_dump(mode="json", by_alias=True) for item in items], indent=2))
    else:
        draw(table(items))


def draw(renderable: Any) -> None:
    from app import screen

    screen.console().print(renderable)


def tell(job: "JobView", state: str, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        typer.echo(state)


def print_json(model: "BaseModel") -> None:
    typer.echo(model.model_dump_json(indent=2, by_alias=True))


def program() -> str:
    """How this command is called from here."""
    if shutil.which("annealer"):
        return "annealer"
    return os.path.relpath(sys.argv[0])


def refused(sentence: str, code: int) -> typer.Exit:
    """Say why not; what is returned is to be raised."""
    typer.echo(sentence, err=True)
    return typer.Exit(code)
