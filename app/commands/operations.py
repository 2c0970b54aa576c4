"""Commands for those who run a service."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app import __version__
from app.commands import place, terminal
from app.commands.place import USUAL, Data, Folder
from app.commands.terminal import BAD_INPUT, PROBLEM, AsJson, Url

if TYPE_CHECKING:
    from app.store.retention import Collection

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
def doctor(data: Data = None, as_json: AsJson = False) -> None:
    """Check what a service needs, and say what to do about what is wrong. Exit code 1 where something is."""
    from app import doctor as examination

    findings = []
    for finding in examination.examine(place.find(data)):
        findings.append(finding)
        if not as_json:
            typer.echo(f"{finding.state:<8}  {finding.check:<10}  {finding.detail}")
            if finding.remedy and finding.state != "skipped":
                typer.echo(f"{'':<22}{finding.remedy}")
    if as_json:
        typer.echo(examination.as_json(findings))
    if not examination.is_well(findings):
        raise typer.Exit(PROBLEM)


@commands.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Remove what finished jobs left behind and is over the limits of ANNEALER_KEEP_…, and blobs that are nobody's.

    Workers do so by themselves every ten minutes.
    """
    from app.settings import KeepSettings, load
    from app.store import engine as engines
    from app.store import retention

    keep = load(KeepSettings)
    with place.database(data) as engine:
        if dry_run:
            with engines.read(engines.patient(engine)) as session:
                collection = retention.plan(session, keep.limits, keep.uploads_seconds)
        else:
            collection = retention.collect(engine, keep.limits, keep.uploads_seconds)
    if as_json:
        typer.echo(json.dumps({"dry_run": dry_run, **asdict(collection)}, indent=2))
    else:
        _tell(collection, "would go" if dry_run else "went")


@commands.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.", show_default=False)],
    data: Folder = USUAL,
) -> None:
    """Back up the folder of `annealer up`, while it runs too. For PostgreSQL see docs/operations.md."""
    from app import backup as backups

    with place.refusals():
        made = backups.backup(data, target)
    typer.echo(f"{target}: {made.jobs:,} jobs, {made.bytes:,} bytes.")
    for where in made.outside:
        typer.echo(f"Not in it: files at {where}. Copy those now, after the database.", err=True)


@commands.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="What `annealer backup` wrote.", show_default=False)],
    data: Folder = USUAL,
) -> None:
    """Make a folder for `annealer up` from a backup."""
    from app import backup as backups

    with place.refusals():
        found = backups.restore(source, data)
    typer.echo(f"{data}: {found.jobs:,} jobs. `annealer up --data {data}` goes on with them.")


@commands.command()
def workers(url: Url = None, as_json: AsJson = False) -> None:
    """List workers."""
    from app import screen

    with terminal.client(url) as client:
        terminal.show(as_json, client.workers(), screen.worker_table)


@commands.command()
def drain(
    worker: Annotated[str, typer.Argument(metavar="WORKER", help="Id of a worker.", show_default=False)],
    undo: Annotated[bool, typer.Option("--undo", help="Let it take jobs again.")] = False,
    url: Url = None,
) -> None:
    """Let a worker take no jobs: those that it runs are checkpointed and go on elsewhere. It lives on."""
    with terminal.client(url) as client:
        client.undrain(worker) if undo else client.drain(worker)
    typer.echo("takes jobs again" if undo else "drained")


@commands.command()
def migrate() -> None:
    """Bring the database at $ANNEALER_DATABASE_URL up to date."""
    from app.store import migrate as store

    database_url = os.environ.get("ANNEALER_DATABASE_URL")
    if not database_url:
        typer.echo("ANNEALER_DATABASE_URL is not set.", err=True)
        raise typer.Exit(BAD_INPUT)
    with place.refusals():
        store.upgrade(database_url)
    typer.echo("The database is up to date.")


@commands.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _tell(collection: "Collection", verb: str) -> None:
    for removal in collection.removals:
        typer.echo(f"{removal.job_id}  {removal.kind:<12}{removal.bytes:>16,} bytes {verb}")
    size = sum(removal.bytes for removal in collection.removals)
    typer.echo(f"{len(collection.removals):,} leftovers of jobs, {size:,} bytes, {verb}.")
    typer.echo(f"{collection.uploads:,} unused uploads {verb}.")
    typer.echo(f"{collection.blobs:,} blobs that are nobody's, {collection.blob_bytes:,} bytes, {verb}.")
