"""Check a spec, submit it."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands import specfile, terminal, watching
from app.commands.terminal import AsJson, SpecFile, Url

if TYPE_CHECKING:
    from trainer.document import Document

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
def validate(spec: SpecFile, url: Url = None, as_json: AsJson = False) -> None:
    """Check a spec and show what it would do. Data sets other than the bundled ones are asked of the server."""

    from app import screen

    document = specfile.read(spec)
    plan = _plan(document, url)
    if as_json:
        terminal.print_json(plan)
        return
    console = screen.console()
    resolved = json.dumps(plan.spec, indent=2, ensure_ascii=False)
    console.print(resolved, highlight=console.is_terminal, markup=False, soft_wrap=True)
    console.print(screen.layer_table(plan.layers))
    for line in screen.plan_lines(plan):
        console.print(line, highlight=False, markup=False, no_wrap=True, overflow="ignore", crop=False)
    for warning in plan.warnings:
        typer.echo(f"{spec}:{document.line(warning.pointer)}: warning: {warning.pointer}: {warning.detail}")


@commands.command()
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
    document = specfile.read(spec)
    with terminal.client(url) as client:
        try:
            job = client.submit(document.value, idempotency_key=key, owner=owner)
        except specfile.invalid() as error:
            specfile.complain(document, error)
        if as_json and not watch:
            terminal.print_json(job)
        elif not watch:
            typer.echo(job.id)
        if watch:
            typer.echo(f"Submitted {job.id}.", err=as_json)
            watching.watch(client, job.id, as_json)


def _plan(document: "Document", url: str | None) -> Any:
    from app.api.views import plan_view
    from trainer import data
    from trainer.errors import SpecInvalid
    from trainer.plan import check

    spec = document.spec()
    try:
        if spec.dataset in data.BUNDLED:
            return plan_view(check(spec, data.load(spec.dataset).facts))
        with terminal.client(url) as client:
            return client.validate(document.value)
    except SpecInvalid as error:
        specfile.complain_all(document, error)
    except specfile.invalid() as error:
        specfile.complain(document, error)
