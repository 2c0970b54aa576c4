"""Run the whole service here."""

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from app.commands import place, specfile, terminal, watching
from app.commands.place import USUAL
from app.commands.terminal import SpecFile

commands = typer.Typer(rich_markup_mode=None)

Slots = Annotated[
    int, typer.Option(min=1, max=64, envvar="ANNEALER_WORKER_SLOTS", help="Jobs trained at the same time.")
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, max=1024, envvar="ANNEALER_WORKER_THREADS", help="CPU threads of a training; default: cores / slots."
    ),
]


@commands.command()
def up(
    data: Annotated[Path, typer.Option(help="Folder for everything.")] = USUAL,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API, on this machine only.")] = 8400,
    slots: Slots = 1,
    threads: Threads = None,
) -> None:
    """Run the whole service here: API, broker and workers, until Ctrl-C."""
    from app.embedded import System

    # Only this machine reaches it, and so keys are asked for only where somebody wants it.
    system = System(data, port, slots, threads, keys=os.environ.get("ANNEALER_KEYS", "off"), say=typer.echo)
    with place.refusals(), system:
        program = terminal.program()
        typer.echo(f"Annealer is ready at {system.url} (documentation: {system.url}/docs).")
        typer.echo(f"Everything is in {data}/; logs are in {data}/logs/. Ctrl-C stops.")
        at = "" if port == 8400 else f" --url {system.url}"
        if data != USUAL:
            typer.echo(f"Commands that look into it (doctor, backup, keys, gc) take --data {data}.")
        typer.echo(f"Try, in another terminal: {program} submit examples/snapshot-ensemble.yaml --watch{at}")
        system.run()


@commands.command()
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
    document = specfile.read(spec)
    folder = _free_folder(data)
    console = Console()
    console.print(f"Starting the API, a broker and a worker in {folder}/ …", highlight=False)
    with place.refusals(), System(folder, free_port()) as system, Client(system.url) as client:
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
    program = terminal.program()
    typer.echo(f"Everything is in {folder}/: the database with the weights, and logs.")
    typer.echo("\nServe it, at http://127.0.0.1:8400 with the documentation at /docs:")
    typer.echo(f"    {program} up --data {folder}")
    typer.echo("Then, in another terminal, download the weights:")
    typer.echo(f"    {program} snapshots {job.id} --download snapshots")
    typer.echo("See what a spec will do before anything runs:")
    typer.echo(f"    {program} validate {spec}")
    raise typer.Exit(watching.exit_code(job.status))


def _free_folder(wanted: Path) -> Path:
    """`wanted`, or, while a service runs there, the next of `wanted-2`, `wanted-3`, …"""
    from app.embedded import is_taken

    number = 1
    folder = wanted
    while is_taken(folder):
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder
