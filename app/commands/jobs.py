"""See jobs, and say what shall become of them."""

from typing import Annotated, Literal

import typer

from app.commands import terminal, watching
from app.commands.terminal import AsJson, JobId, Url

commands = typer.Typer(rich_markup_mode=None)


@commands.command("list")
def list_jobs(
    kind: Annotated[
        list[str] | None,
        typer.Option(help="training, scoring, prediction, export, import; repeatable. Default: training."),
    ] = None,
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

    with terminal.client(url) as client:
        jobs = list(client.jobs(kind=kind, status=status, name=name, label=label, dataset=dataset, limit=limit))
    terminal.show(as_json, jobs, screen.job_table)


@commands.command()
def show(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Show a job."""
    from app import screen

    with terminal.client(url) as client:
        job = client.job(job_id)
    if as_json:
        terminal.print_json(job)
    else:
        terminal.draw(screen.job_summary(job))


@commands.command()
def watch(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Show a job until it ends; the exit code tells how. Ctrl-C leaves it running."""
    with terminal.client(url) as client:
        watching.watch(client, job_id, as_json)


@commands.command()
def cancel(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Cancel a job."""
    with terminal.client(url) as client:
        job = client.cancel(job_id)
    terminal.tell(job, "cancelled" if job.status.is_final else "cancelling", as_json)


@commands.command()
def pause(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Stop a job until it is resumed; its device is free meanwhile."""
    with terminal.client(url) as client:
        job = client.pause(job_id)
    terminal.tell(job, "paused" if job.status == "paused" else "pausing", as_json)


@commands.command()
def resume(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Let a paused job go on."""
    with terminal.client(url) as client:
        job = client.resume(job_id)
    terminal.tell(job, job.status, as_json)


@commands.command()
def retry(
    job_id: JobId,
    start: Annotated[
        Literal["checkpoint", "start"], typer.Option("--from", help="Go on from the last checkpoint, or begin again.")
    ] = "checkpoint",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Try a failed or cancelled job again."""
    with terminal.client(url) as client:
        job = client.retry(job_id, start)
    terminal.tell(job, job.status, as_json)


@commands.command(context_settings={"ignore_unknown_options": True})
def priority(
    job_id: JobId,
    number: Annotated[int, typer.Argument(min=-100, max=100, help="The highest is taken first.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Change a job's priority."""
    with terminal.client(url) as client:
        job = client.prioritize(job_id, number)
    terminal.tell(job, f"priority {job.priority}", as_json)


@commands.command()
def delete(job_id: JobId, url: Url = None) -> None:
    """Delete a finished job with its metrics and snapshots."""
    with terminal.client(url) as client:
        client.delete(job_id)
    typer.echo("deleted")
