"""What jobs have left: metrics, layers, snapshots, ensembles, events, logs, and all that side by side."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from app.commands import terminal
from app.commands.terminal import BAD_INPUT, AsJson, JobId, Url

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
def metrics(
    job_id: JobId,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    series: Annotated[str | None, typer.Option(help="A per-step series, as CSV: loss, learning_rate.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show what a training has measured."""
    from app import screen

    with terminal.client(url) as client:
        if csv or series:
            typer.echo(client.metrics_csv(job_id, series), nl=False)
            return
        found = client.metrics(job_id)
    if as_json:
        terminal.print_json(found)
    else:
        terminal.draw(screen.epoch_table(found.epochs))


@commands.command()
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

    with terminal.client(url) as client:
        found = client.layers(job_id, epoch)
    if as_json:
        terminal.print_json(found)
        return
    shown = max((row.epoch for row in found.items), default=0)
    terminal.draw(screen.layer_statistics_table([row for row in found.items if row.epoch == shown], shown))


@commands.command()
def snapshots(
    job_id: JobId,
    download: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the weights into a folder.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List a job's snapshots, or download their weights."""
    from app import screen

    with terminal.client(url) as client:
        found = client.snapshots(job_id)
        terminal.show(as_json, found, screen.snapshot_table)
        if download:
            download.mkdir(parents=True, exist_ok=True)
            for snapshot in found:
                path = download / f"snapshot-{snapshot.number}.safetensors"
                client.download(snapshot, path)
                typer.echo(str(path), err=as_json)


@commands.command()
def files(
    job_id: JobId,
    download: Annotated[Path | None, typer.Option(metavar="DIR", help="Write them into a folder.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List the files that a job was asked for, or download them."""
    from app import screen

    with terminal.client(url) as client:
        found = client.files(job_id)
        terminal.show(as_json, found, screen.files_table)
        if download:
            download.mkdir(parents=True, exist_ok=True)
            for file in found:
                client.download(file, download / file.name)
                typer.echo(str(download / file.name), err=as_json)


@commands.command()
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
            with terminal.client(url) as client:
                client.download(client.snapshot(snapshot), path)
        try:
            weights = pictures.first(path)
        except ValueError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(BAD_INPUT) from None
    Image.fromarray(pictures.draw(weights, zoom)).save(output, format="PNG")
    count, channels, height, width = weights.shape
    typer.echo(f"{output}: {count} filters of {channels} × {height} × {width} weights.")


@commands.command()
def report(
    job_id: JobId,
    html: Annotated[Path, typer.Option("--html", metavar="FILE", help="Where to.", show_default=False)],
    url: Url = None,
) -> None:
    """Write a training as one file that stands alone: curves, epochs, snapshots, ensembles, layers, events, spec."""
    with terminal.client(url) as client:
        text = client.report_html(job_id)
    html.write_text(text)
    typer.echo(f"{html}: {len(text):,} characters.")


@commands.command()
def card(
    ensemble: Annotated[
        str, typer.Argument(metavar="ID", help="Of an ensemble, or of the job that makes it.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write model-card.md, model-card.json and curves.svg.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show an ensemble's model card: data and its licence, scores, limits, versions, how to ask it."""
    with terminal.client(url) as client:
        id = client.ensemble(ensemble).id
        found, text = client.card(id), client.card_markdown(id)
        curves = client.curves_svg(found.trainings[0].job_id)
    if out is None:
        return terminal.print_json(found) if as_json else typer.echo(text, nl=False)
    out.mkdir(parents=True, exist_ok=True)
    files = {"model-card.md": text, "model-card.json": found.model_dump_json(indent=2), "curves.svg": curves}
    for name, content in files.items():
        (out / name).write_text(content)
    typer.echo(f"{out}: {', '.join(files)}.")


@commands.command()
def ensemble(job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Show a job's ensemble: its members, and what they predict together."""
    from app import screen

    with terminal.client(url) as client:
        found = client.ensemble(job_id)
    if as_json:
        terminal.print_json(found)
    else:
        terminal.draw(screen.ensemble_table(found))


@commands.command()
def compare(
    job_ids: Annotated[list[str], typer.Argument(metavar="ID ID ...", help="Ids of trainings.", show_default=False)],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show trainings side by side: specs, last figures, and means over those that differ only in their seed."""
    from app import screen

    with terminal.client(url) as client:
        found = client.compare(job_ids)
    if as_json:
        terminal.print_json(found)
        return
    for table in screen.comparison_tables(found):
        terminal.draw(table)


@commands.command()
def events(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the job ends.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show a job's history; with --json one event a line."""
    from app import screen

    with terminal.client(url) as client:
        for event in client.events(job_id, follow=follow):
            typer.echo(event.model_dump_json() if as_json else screen.event_line(event))


@commands.command()
def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the job ends.")] = False,
    tail: Annotated[int | None, typer.Option(min=1, max=100_000, help="Only the last lines.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show what a job's training processes wrote; with --json one piece a line."""
    with terminal.client(url) as client:
        expected = None if tail else 0
        for piece in client.logs(job_id, tail=tail, follow=follow):
            if as_json:
                typer.echo(piece.model_dump_json())
                continue
            if expected is not None and piece.offset > expected:
                typer.echo("[what stood here was cut as too much]", err=True)
            typer.echo(piece.text, nl=False)
            expected = piece.next_offset
