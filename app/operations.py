"""Commands for those who run a service: doctor, gc, backup, restore."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.doctor import Place
    from app.store.retention import Collection

PROBLEM, BAD_INPUT, UNREACHABLE, REFUSED = 1, 2, 5, 6

commands = typer.Typer(rich_markup_mode=None)

Data = Annotated[
    Path | None,
    typer.Option(
        help="The folder of `annealer up`; default: the database at $ANNEALER_DATABASE_URL, else annealer-data."
    ),
]
Folder = Annotated[Path, typer.Option(help="The folder of `annealer up`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@commands.command()
def doctor(data: Data = None, as_json: AsJson = False) -> None:
    """Check what a service needs, and say what to do about what is wrong. Exit code 1 where something is."""
    from app import doctor as examination

    findings = []
    for finding in examination.examine(_place(data)):
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
    from app.settings import KeepSettings
    from app.store import engine as engines
    from app.store import migrate, retention

    url = _place(data).database_url
    if url is None:
        typer.echo("ANNEALER_DATABASE_URL is not set; or name a folder with --data.", err=True)
        raise typer.Exit(BAD_INPUT)
    engine = engines.patient(engines.create(url))
    limits = KeepSettings().limits
    with _refusals():
        migrate.check_schema(engine)
        if dry_run:
            with engines.read(engine) as session:
                collection = retention.plan(session, limits)
        else:
            collection = retention.collect(engine, limits)
    engine.dispose()
    if as_json:
        typer.echo(json.dumps({"dry_run": dry_run, **asdict(collection)}, indent=2))
    else:
        _tell(collection, "would go" if dry_run else "went")


@commands.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.", show_default=False)],
    data: Folder = Path("annealer-data"),
) -> None:
    """Back up the folder of `annealer up`, while it runs too. For PostgreSQL see docs/operations.md."""
    from app import backup as backups

    with _refusals():
        made = backups.backup(data, target)
    typer.echo(f"{target}: {made.jobs:,} jobs, {made.bytes:,} bytes.")


@commands.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="What `annealer backup` wrote.", show_default=False)],
    data: Folder = Path("annealer-data"),
) -> None:
    """Make a folder for `annealer up` from a backup."""
    from app import backup as backups

    with _refusals():
        found = backups.restore(source, data)
    typer.echo(f"{data}: {found.jobs:,} jobs. `annealer up --data {data}` goes on with them.")


@contextmanager
def _refusals() -> Iterator[None]:
    """What stands in the way becomes a sentence and an exit code."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.backup import CannotBackUp
    from app.embedded import CannotStart
    from app.store.migrate import SchemaMismatch

    try:
        yield
    except (CannotBackUp, CannotStart, SchemaMismatch) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(REFUSED) from None
    except SQLAlchemyError as error:
        typer.echo(f"The database cannot be used ({type(error).__name__}); `annealer doctor` tells more.", err=True)
        raise typer.Exit(UNREACHABLE) from None


def _place(data: Path | None) -> "Place":
    """The service in a folder, or the one that the environment names, or the one in the usual folder."""
    from app.doctor import Place, scratch_folders
    from app.embedded import DATABASE, broker_url, database_url

    url = os.environ.get("ANNEALER_DATABASE_URL")
    usual = Path("annealer-data")
    if data is None and url is None and (usual / DATABASE).exists():
        data = usual
    broker = os.environ.get("ANNEALER_BROKER_URL")
    if data is not None:
        if not (data / DATABASE).exists():
            typer.echo(f"There is no service in {data}: `annealer up --data {data}` makes one.", err=True)
            raise typer.Exit(REFUSED)
        return Place(database_url(data), broker or broker_url(data), (data,))
    return Place(url, broker, scratch_folders())


def _tell(collection: "Collection", verb: str) -> None:
    for removal in collection.removals:
        typer.echo(f"{removal.job_id}  {removal.kind:<12}{removal.bytes:>16,} bytes {verb}")
    size = sum(removal.bytes for removal in collection.removals)
    typer.echo(f"{len(collection.removals):,} leftovers of jobs, {size:,} bytes, {verb}.")
    typer.echo(f"{collection.blobs:,} blobs that are nobody's, {collection.blob_bytes:,} bytes, {verb}.")
