"""A job shown until it ends."""

from typing import TYPE_CHECKING

import typer

from app.commands import terminal
from app.commands.terminal import CANCELLED, FAILED

if TYPE_CHECKING:
    from app.client import Client


def watch(client: "Client", job_id: str, as_json: bool) -> None:
    from rich.console import Console

    from app import screen

    console = Console(stderr=as_json)
    try:
        job = screen.follow(console, client, job_id)
    except KeyboardInterrupt:
        typer.echo(f"Job {job_id} goes on; {terminal.program()} watch {job_id} shows it again.", err=True)
        raise
    if as_json:
        terminal.print_json(job)
    else:
        console.print(screen.job_summary(job))
        if job.status == "succeeded" and (job.kind != "training" or job.spec["ensemble"]["kind"] != "none"):
            console.print(screen.ensemble_table(client.ensemble(job_id)))
    raise typer.Exit(exit_code(job.status))


def exit_code(status: str) -> int:
    return {"succeeded": 0, "cancelled": CANCELLED}.get(status, FAILED)
