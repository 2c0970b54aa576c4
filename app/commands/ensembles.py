"""Ensembles by request: made, listed, shown, deleted."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from app.commands import specfile, terminal, watching
from app.commands.terminal import BAD_INPUT, AsJson, Url

if TYPE_CHECKING:
    from app.api.schemas import EnsembleView
    from app.client import Client

commands = typer.Typer(help="Ensembles of any snapshots.", no_args_is_help=True, rich_markup_mode=None)

EnsembleId = Annotated[
    str, typer.Argument(metavar="ID", help="Id of an ensemble, or of the job that made it.", show_default=False)
]


@commands.command()
def create(
    spec: Annotated[
        Path | None, typer.Argument(metavar="[SPEC]", help="What to make, YAML or JSON.", show_default=False)
    ] = None,
    job: Annotated[list[str] | None, typer.Option(help="Take a job's snapshots; repeatable.")] = None,
    last: Annotated[int | None, typer.Option(min=1, help="Only each job's newest so many.")] = None,
    snapshot: Annotated[list[str] | None, typer.Option(help="Take a snapshot; repeatable.")] = None,
    best: Annotated[int | None, typer.Option(min=1, help="Of these, only the best so many.")] = None,
    greedy: Annotated[int | None, typer.Option(min=1, help="Choose greedily, so often at most.")] = None,
    combine: Annotated[
        Literal["mean", "geometric_mean", "majority_vote"], typer.Option(help="How predictions become one.")
    ] = "mean",
    temperature: Annotated[
        bool, typer.Option("--temperature", help="Scale probabilities, as validation/a asks.")
    ] = False,
    score_on: Annotated[str | None, typer.Option(help="The split that it is scored on.")] = None,
    name: Annotated[str, typer.Option(help="Shown in lists.")] = "ensemble",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay until it is scored.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make an ensemble as a file or options say; the exit code of --watch tells how scoring ended."""
    options = _asked(job, last, snapshot, best, greedy)
    if (spec is None) == (options is None):
        raise terminal.refused("Give a file, or --job or --snapshot: one of the three.", BAD_INPUT)
    with terminal.client(url) as client:
        if spec is not None:
            made = _from_file(client, spec)
        else:
            document = {**(options or {}), "name": name, "combine": combine, "score_on": score_on}
            made = client.make_ensemble(document | ({"temperature": {}} if temperature else {}))
        if not watch:
            terminal.print_json(made) if as_json else typer.echo(made.id)
            return
        *_, job_view = client.watch(made.job_id)
        _show(client.ensemble(made.id), as_json)
    raise typer.Exit(watching.exit_code(job_view.status))


@commands.command("list")
def list_ensembles(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50, url: Url = None, as_json: AsJson = False
) -> None:
    """List ensembles, newest first, those that trainings made among them."""
    from app import screen

    with terminal.client(url) as client:
        terminal.show(as_json, list(client.ensembles(limit=limit)), screen.ensembles_table)


@commands.command()
def show(ensemble_id: EnsembleId, url: Url = None, as_json: AsJson = False) -> None:
    """Show an ensemble: its members, and what they predict together."""
    with terminal.client(url) as client:
        _show(client.ensemble(ensemble_id), as_json)


@commands.command()
def delete(ensemble_id: EnsembleId, url: Url = None) -> None:
    """Delete an ensemble that was made by request; its snapshots stay."""
    with terminal.client(url) as client:
        client.delete_ensemble(ensemble_id)
    typer.echo("deleted")


def _asked(
    jobs: list[str] | None, last: int | None, snapshots: list[str] | None, best: int | None, greedy: int | None
) -> dict[str, Any] | None:
    """Members and selection as options say; None where they name no members."""
    if bool(jobs) == bool(snapshots):
        return None
    members = {"kind": "jobs", "ids": jobs, "last": last} if jobs else {"kind": "snapshots", "ids": snapshots}
    if (best and greedy) or (snapshots and last):
        raise terminal.refused("--best and --greedy exclude each other, and --last is for --job.", BAD_INPUT)
    if greedy:
        return {"members": members, "select": {"kind": "greedy", "count": greedy}}
    return {"members": members, "select": {"kind": "best", "count": best} if best else {"kind": "all"}}


def _from_file(client: "Client", path: Path) -> "EnsembleView":
    from trainer import document

    found = document.read(path)
    try:
        return client.make_ensemble(json.loads(found.json))
    except specfile.invalid() as error:
        specfile.complain(found, error)
        raise


def _show(ensemble: "EnsembleView", as_json: bool) -> None:
    from app import screen

    if as_json:
        terminal.print_json(ensemble)
        return
    terminal.draw(screen.ensemble_table(ensemble))
    for line in screen.ensemble_lines(ensemble):
        typer.echo(line)
