"""Where the contents of files lie, and bringing them elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import typer

from app.commands import place, terminal
from app.commands.place import Data
from app.commands.terminal import BAD_INPUT, PROBLEM, AsJson

if TYPE_CHECKING:
    from sqlalchemy import Engine

commands = typer.Typer(help="Files of the service: where they lie.", no_args_is_help=True, rich_markup_mode=None)


@commands.command("list")
def list_places(data: Data = None, as_json: AsJson = False) -> None:
    """Say how many files, and how large, lie where."""
    import json

    from app.store import blobs
    from app.store.engine import patient, read

    with place.database(data) as engine, read(patient(engine)) as session:
        found = blobs.places(session)
    if as_json:
        typer.echo(json.dumps([{"place": where, "files": files, "bytes": size} for where, files, size in found]))
        return
    for where, files, size in found:
        typer.echo(f"{where:<40}{files:>10,} files{size:>20,} bytes")


@commands.command()
def move(data: Data = None) -> None:
    """Bring all files to where $ANNEALER_BLOBS says that new ones go, while the service runs. Again, it goes on."""
    from app.store import blobs
    from app.store.engine import read
    from app.store.errors import BlobDamaged

    with _aimed(data) as (engine, target), TemporaryDirectory(prefix="annealer-blobs-") as folder:
        with read(engine) as session:
            hashes = blobs.misplaced(session, target)
        damaged = 0
        for done, hash in enumerate(hashes, 1):
            try:
                blobs.move(engine, hash, Path(folder))
            except BlobDamaged as error:
                damaged += 1
                typer.echo(f"{error} It stays where it is.", err=True)
            if done % 100 == 0:
                typer.echo(f"{done:,} of {len(hashes):,}", err=True)
    typer.echo(f"{len(hashes) - damaged:,} files were moved to {target or 'the database'}.")
    if damaged:
        raise typer.Exit(PROBLEM)


@contextmanager
def _aimed(data: Path | None) -> "Iterator[tuple[Engine, str | None]]":
    """The database's engine and the place that the environment names."""
    import os

    from app.settings import place_of

    try:
        target = place_of(os.environ.get("ANNEALER_BLOBS", "sql"))
    except ValueError as error:
        raise terminal.refused(f"ANNEALER_BLOBS: {error}", BAD_INPUT) from None
    with place.database(data, target) as engine:
        yield engine, target
