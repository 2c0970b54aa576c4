"""A spec in a file, and complaints about it by its lines."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from app.commands.terminal import BAD_INPUT

if TYPE_CHECKING:
    from app.client import ProblemError
    from trainer.document import Document
    from trainer.errors import SpecInvalid


def read(path: Path) -> "Document":
    """The spec file, refused with lines where the spec in it is not valid."""
    from trainer import document
    from trainer.errors import SpecInvalid

    found = document.read(path)
    try:
        found.spec()
    except SpecInvalid as error:
        complain_all(found, error)
    return found


def complain_all(document: "Document", error: "SpecInvalid") -> Any:
    for mistake in error.mistakes:
        typer.echo(document.complaint(mistake), err=True)
    raise typer.Exit(BAD_INPUT)


def complain(document: "Document", error: "ProblemError") -> Any:
    from trainer.errors import Mistake, SpecInvalid

    mistakes = [
        Mistake(place.pointer, place.code, place.detail) for place in error.problem.errors if place.pointer is not None
    ]
    if not mistakes:
        raise error
    complain_all(document, SpecInvalid(mistakes))


def invalid() -> type["ProblemError"]:
    from app.client import Invalid

    return Invalid
