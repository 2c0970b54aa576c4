"""The `annealer` command."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from app import __version__, keys, operations

if TYPE_CHECKING:
    from pydantic import BaseModel

    from app.api.schemas import JobView
    from app.client import Client, ProblemError
    from trainer.document import Document
    from trainer.errors import SpecInvalid

BAD_INPUT, FAILED, CANCELLED, UNREACHABLE, REFUSED = 2, 3, 4, 5, 6

HELP = """Train image classifiers, score them as ensembles.

Start with `annealer up` and `annealer submit SPEC --watch`.

Exit codes: 0 done (of watch: the job succeeded), 1 doctor found a problem, 2 bad input, 3 the job failed, 4 the job
was cancelled, 5 the server cannot be reached, 6 the server refused."""

cli = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
cli.add_typer(operations.commands)
cli.add_typer(keys.commands, name="keys")

JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of a job.", show_default=False)]
SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="The spec, YAML or JSON.", show_default=False)]
Url = Annotated[str | None, typer.Option("--url", help="The server; default: $ANNEALER_URL or http://127.0.0.1:8400.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Slots = Annotated[int, typer.Option(min=1, help="Jobs trained at the same time.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads of a training; default: cores / slots.")]


@cli.command()
def up(
    data: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("annealer-data"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API, on this machine only.")] = 8400,
    slots: Slots = 1,
    threads: Threads = None,
) -> None:
    """Run the whole service here: API, broker and worker, until Ctrl-C."""
    from app.embedded import System

    # Only this machine reaches it, and so keys are asked for only where somebody wants it.
    system = System(data, port, slots, threads, keys=os.environ.get("ANNEALER_KEYS", "off"), say=typer.echo)
    with system:
        program = _program()
        typer.echo(f"Annealer is ready at {system.url} (documentation: {system.url}/docs).")
        typer.echo(f"Everything is in {data}/; logs are in {data}/logs/. Ctrl-C stops.")
        at = "" if port == 8400 else f" --url {system.url}"
        typer.echo(f"Try, in another terminal: {program} submit examples/snapshot-ensemble.yaml --watch{at}")
        system.run()


@cli.command()
def demo(
    spec: SpecFile = Path("examples/snapshot-ensemble.yaml"),
    data: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("demo-data"),
) -> None:
    """Start everything, train a spec, show the result, stop."""
    from rich.console import Console

    from app import screen
    from app.client import Client
    from app.embedded import System, free_port

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    document = _document(spec)
    folder = _free_folder(data)
    console = Console()
    console.print(f"Starting the API, a broker and a worker in {folder}/ …", highlight=False)
    with System(folder, free_port()) as system, Client(system.url) as client:
        job = client.submit(document.value)
        console.print(f"Submitted {spec} as {job.id}.", highlight=False, soft_wrap=True)
        try:
            job = screen.follow(console, client, job.id)
        except KeyboardInterrupt:
            # Else it would stand before the job of the next demo.
            client.cancel(job.id)
            typer.echo(f"Cancelled {job.id}.")
            raise
        console.print(screen.job_summary(job))
        if job.spec["ensemble"]["kind"] != "none" and job.status == "succeeded":
            console.print(screen.ensemble_table(client.ensemble(job.id)))
    program = _program()
    typer.echo(f"Everything is in {folder}/: the database with the weights, and logs.")
    typer.echo("\nServe it, at http://127.0.0.1:8400 with the documentation at /docs:")
    typer.echo(f"    {program} up --data {folder}")
    typer.echo("Then, in another terminal, download the weights:")
    typer.echo(f"    {program} snapshots {job.id} --download snapshots")
    typer.echo("See what a spec will do before anything runs:")
    typer.echo(f"    {program} validate {spec}")
    raise typer.Exit(_exit_code(job.status))


@cli.command()
def validate(spec: SpecFile, url: Url = None, as_json: AsJson = False) -> None:
    """Check a spec and show what it would do. Data sets other than the bundled ones are asked of the server."""

    from app import screen

    document = _document(spec)
    plan = _plan(document, url)
    if as_json:
        _print_json(plan)
        return
    console = screen.console()
    resolved = json.dumps(plan.spec, indent=2, ensure_ascii=False)
    console.print(resolved, highlight=console.is_terminal, markup=False, soft_wrap=True)
    console.print(screen.layer_table(plan.layers))
    for line in screen.plan_lines(plan):
        console.print(line, highlight=False, markup=False, no_wrap=True, overflow="ignore", crop=False)
    for warning in plan.warnings:
        typer.echo(f"{spec}:{document.line(warning.pointer)}: warning: {warning.pointer}: {warning.detail}")


@cli.command()
def submit(
    spec: SpecFile,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and show the job until it ends.")] = False,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key submits once.")] = None,
    owner: Annotated[
        str | None, typer.Option(help="Whose job it is, where no keys are asked for; owners take turns.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Queue a job."""
    document = _document(spec)
    with _client(url) as client:
        try:
            job = client.submit(document.value, idempotency_key=key, owner=owner)
        except _invalid() as error:
            _complain(document, error)
        if as_json and not watch:
            _print_json(job)
        elif not watch:
            typer.echo(job.id)
        if watch:
            typer.echo(f"Submitted {job.id}.", err=as_json)
            _watch(client, job.id, as_json)


@cli.command("list")
def list_jobs(
    status: Annotated[list[str] | None, typer.Option(help="Only these; repeatable.")] = None,
    name: Annotated[str | None, typer.Option(help="Part of the name.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="key:value; repeatable.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only jobs on this data set.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    from app import screen

    with _client(url) as client:
        jobs = list(client.jobs(status=status, name=name, label=label, dataset=dataset, limit=limit))
    _show(as_json, jobs, screen.job_table)


@cli.command()
def show(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Show a job."""
    from app import screen

    with _client(url) as client:
        job = client.job(job_id)
    if as_json:
        _print_json(job)
    else:
        _print(screen.job_summary(job))


@cli.command()
def watch(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Show a job until it ends; the exit code tells how. Ctrl-C leaves it running."""
    with _client(url) as client:
        _watch(client, job_id, as_json)


@cli.command()
def cancel(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Cancel a job."""
    with _client(url) as client:
        job = client.cancel(job_id)
    _tell(job, "cancelled" if job.status.is_final else "cancelling", as_json)


@cli.command()
def pause(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Stop a job until it is resumed; its device is free meanwhile."""
    with _client(url) as client:
        job = client.pause(job_id)
    _tell(job, "paused" if job.status == "paused" else "pausing", as_json)


@cli.command()
def resume(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Let a paused job go on."""
    with _client(url) as client:
        job = client.resume(job_id)
    _tell(job, job.status, as_json)


@cli.command()
def retry(
    job_id: JobId,
    start: Annotated[
        Literal["checkpoint", "start"], typer.Option("--from", help="Go on from the last checkpoint, or begin again.")
    ] = "checkpoint",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Try a failed or cancelled job again."""
    with _client(url) as client:
        job = client.retry(job_id, start)
    _tell(job, job.status, as_json)


@cli.command()
def delete(job_id: JobId, url: Url = None) -> None:
    """Delete a finished job with its metrics and snapshots."""
    with _client(url) as client:
        client.delete(job_id)


@cli.command()
def metrics(
    job_id: JobId,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    series: Annotated[str | None, typer.Option(help="A per-step series, as CSV: loss, learning_rate.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show what a training has measured."""
    from app import screen

    with _client(url) as client:
        if csv or series:
            typer.echo(client.metrics_csv(job_id, series), nl=False)
            return
        found = client.metrics(job_id)
    if as_json:
        _print_json(found)
    else:
        _print(screen.epoch_table(found.epochs))


@cli.command()
def layers(
    job_id: JobId,
    epoch: Annotated[
        int | None, typer.Option(min=0, help="After this epoch, 0 at initialisation; default: the last inspected.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show what stands in each layer: outputs, gradients, dead units, sizes of updates."""
    from app import screen

    with _client(url) as client:
        found = client.layers(job_id, epoch)
    if as_json:
        _print_json(found)
        return
    shown = max((row.epoch for row in found.items), default=0)
    _print(screen.layer_statistics_table([row for row in found.items if row.epoch == shown], shown))


@cli.command()
def snapshots(
    job_id: JobId,
    download: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the weights into a folder.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List a job's snapshots, or download their weights."""
    from app import screen

    with _client(url) as client:
        found = client.snapshots(job_id)
        _show(as_json, found, screen.snapshot_table)
        if download:
            download.mkdir(parents=True, exist_ok=True)
            for snapshot in found:
                path = download / f"snapshot-{snapshot.number}.safetensors"
                client.download(snapshot, path)
                typer.echo(str(path), err=as_json)


@cli.command()
def filters(
    snapshot: Annotated[
        str, typer.Argument(metavar="SNAPSHOT", help="Id of a snapshot, or its file.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PNG", help="The picture.")] = Path("filters.png"),
    zoom: Annotated[int, typer.Option(min=1, max=64, help="Side of a weight, in pixels.")] = 8,
    url: Url = None,
) -> None:
    """Draw what the first layer looks for: each filter's weights, 0 in middle grey, the largest black or white."""
    from PIL import Image

    from trainer import filters as pictures

    with TemporaryDirectory() as folder:
        path = Path(snapshot)
        if not path.exists():
            path = Path(folder) / f"{snapshot}.safetensors"
            with _client(url) as client:
                client.download(client.snapshot(snapshot), path)
        try:
            weights = pictures.first(path)
        except ValueError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(BAD_INPUT) from None
    Image.fromarray(pictures.draw(weights, zoom)).save(output, format="PNG")
    count, channels, height, width = weights.shape
    typer.echo(f"{output}: {count} filters of {channels} × {height} × {width} weights.")


@cli.command()
def ensemble(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Show a job's ensemble: its members, and what they predict together."""
    from app import screen

    with _client(url) as client:
        found = client.ensemble(job_id)
    if as_json:
        _print_json(found)
    else:
        _print(screen.ensemble_table(found))


@cli.command()
def events(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the job ends.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show a job's history; with --json one event a line."""
    from app import screen

    with _client(url) as client:
        for event in client.events(job_id, follow=follow):
            typer.echo(event.model_dump_json() if as_json else screen.event_line(event))


@cli.command()
def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the job ends.")] = False,
    tail: Annotated[int | None, typer.Option(min=1, max=100_000, help="Only the last lines.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show what a job's training processes wrote; with --json one piece a line."""
    with _client(url) as client:
        expected = None if tail else 0
        for piece in client.logs(job_id, tail=tail, follow=follow):
            if as_json:
                typer.echo(piece.model_dump_json())
                continue
            if expected is not None and piece.offset > expected:
                typer.echo("[what stood here was cut as too much]", err=True)
            typer.echo(piece.text, nl=False)
            expected = piece.next_offset


@cli.command()
def datasets(url: Url = None, as_json: AsJson = False) -> None:
    """List the data sets that specs can name."""
    from app import screen

    with _client(url) as client:
        _show(as_json, client.datasets(), screen.dataset_table)


@cli.command()
def workers(url: Url = None, as_json: AsJson = False) -> None:
    """List workers."""
    from app import screen

    with _client(url) as client:
        _show(as_json, client.workers(), screen.worker_table)


@cli.command()
def migrate() -> None:
    """Bring the database at $ANNEALER_DATABASE_URL up to date."""
    from app.store import migrate as store

    database_url = os.environ.get("ANNEALER_DATABASE_URL")
    if not database_url:
        typer.echo("ANNEALER_DATABASE_URL is not set.", err=True)
        raise typer.Exit(BAD_INPUT)
    store.upgrade(database_url)
    typer.echo("The database is up to date.")


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the command; what goes wrong becomes a sentence and an exit code."""
    try:
        cli()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        code, sentence = _explain(error)
        typer.echo(sentence, err=True)
        sys.exit(code)


def _explain(error: Exception) -> tuple[int, str]:
    from app.client import ClientError, ProblemError, Unreachable
    from app.embedded import CannotStart
    from trainer.errors import SpecInvalid

    match error:
        case Unreachable():
            return UNREACHABLE, f"{error} Is it running? Start one here with `{_program()} up`."
        case ProblemError():
            return _problem(error)
        case ClientError() | CannotStart():
            return REFUSED, str(error)
        case SpecInvalid():
            return BAD_INPUT, "\n".join(mistake.detail for mistake in error.mistakes)
        case OSError() if error.filename:
            return BAD_INPUT, f"{error.filename}: {error.strerror}"
    raise error


def _problem(error: "ProblemError") -> tuple[int, str]:
    places = [f"{place.pointer or place.parameter or place.header}: {place.detail}" for place in error.problem.errors]
    code = BAD_INPUT if error.problem.status == 422 else REFUSED
    return code, "\n".join([str(error), *places])


def _document(path: Path) -> "Document":
    """The spec file, refused with lines where the spec in it is not valid."""
    from trainer import document
    from trainer.errors import SpecInvalid

    found = document.read(path)
    try:
        found.spec()
    except SpecInvalid as error:
        _complain_all(found, error)
    return found


def _plan(document: "Document", url: str | None) -> Any:
    from app.api.views import plan_view
    from trainer import data
    from trainer.errors import SpecInvalid
    from trainer.plan import check

    spec = document.spec()
    try:
        if spec.dataset in data.BUNDLED:
            return plan_view(check(spec, data.load(spec.dataset).facts))
        with _client(url) as client:
            return client.validate(document.value)
    except SpecInvalid as error:
        _complain_all(document, error)
    except _invalid() as error:
        _complain(document, error)


def _complain_all(document: "Document", error: "SpecInvalid") -> Any:
    for mistake in error.mistakes:
        typer.echo(document.complaint(mistake), err=True)
    raise typer.Exit(BAD_INPUT)


def _complain(document: "Document", error: "ProblemError") -> Any:
    from trainer.errors import Mistake, SpecInvalid

    mistakes = [
        Mistake(place.pointer, place.code, place.detail) for place in error.problem.errors if place.pointer is not None
    ]
    if not mistakes:
        raise error
    _complain_all(document, SpecInvalid(mistakes))


def _invalid() -> type["ProblemError"]:
    from app.client import Invalid

    return Invalid


def _watch(client: "Client", job_id: str, as_json: bool) -> None:
    from rich.console import Console

    from app import screen

    console = Console(stderr=as_json)
    try:
        job = screen.follow(console, client, job_id)
    except KeyboardInterrupt:
        typer.echo(f"Job {job_id} goes on; {_program()} watch {job_id} shows it again.", err=True)
        raise
    if as_json:
        _print_json(job)
    else:
        console.print(screen.job_summary(job))
        if job.status == "succeeded" and job.spec["ensemble"]["kind"] != "none":
            console.print(screen.ensemble_table(client.ensemble(job_id)))
    raise typer.Exit(_exit_code(job.status))


def _exit_code(status: str) -> int:
    return {"succeeded": 0, "cancelled": CANCELLED}.get(status, FAILED)


def _client(url: str | None) -> "Client":
    from app.client import Client

    return Client(url)


def _show(as_json: bool, items: "Iterable[BaseModel]", table: Any) -> None:
    if as_json:
        typer.echo(json.dumps([item.model_dump(mode="json", by_alias=True) for item in items], indent=2))
    else:
        _print(table(items))


def _print(renderable: Any) -> None:
    from app import screen

    screen.console().print(renderable)


def _tell(job: "JobView", state: str, as_json: bool) -> None:
    if as_json:
        _print_json(job)
    else:
        typer.echo(state)


def _print_json(model: "BaseModel") -> None:
    typer.echo(model.model_dump_json(indent=2, by_alias=True))


def _free_folder(wanted: Path) -> Path:
    """`wanted`, or, while a service runs there, the next of `wanted-2`, `wanted-3`, …"""
    from app.embedded import is_taken

    number = 1
    folder = wanted
    while is_taken(folder):
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


def _program() -> str:
    """How this command is called from here."""
    if shutil.which("annealer"):
        return "annealer"
    return os.path.relpath(sys.argv[0])
