"""What a snapshot or an ensemble says of images: asked here, or taken along as a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.commands import terminal, watching
from app.commands.terminal import AsJson, Url
from trainer.spec.exporting import Format

if TYPE_CHECKING:
    from app.client import Client

commands = typer.Typer(rich_markup_mode=None)

Id = Annotated[
    str,
    typer.Argument(metavar="ID", help="Of a snapshot, an ensemble, or the job that made one.", show_default=False),
]


@commands.command()
def predict(
    id: Id,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE ...", help="Image files.", show_default=False)],
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many of the likeliest classes.")] = 3,
    members: Annotated[bool, typer.Option("--members", help="How far the members disagree.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Tell what images show, as a snapshot or an ensemble sees them."""
    from app import screen

    with terminal.client(url) as client:
        found = client.predict(id, images, top_k=top, members=members)
    if as_json:
        terminal.print_json(found)
    else:
        terminal.draw(screen.predictions_table(found, [str(path) for path in images]))


@commands.command("batch-predict")
def batch_predict(
    id: Id,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name of a data set.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Stay until the table is there, and write it.")
    ] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only train, validation or test; repeatable.")] = None,
    format: Annotated[Literal["csv", "parquet"], typer.Option(help="What kind of file.")] = "csv",
    probabilities: Annotated[bool, typer.Option(help="A column for each class.")] = True,
    name: Annotated[str, typer.Option(help="Shown in lists.")] = "predictions",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Predict a whole data set, as a table with a row for each image. Without --out: tell the job, which makes it."""
    spec = {"name": name, "dataset": dataset, "splits": split, "format": format, "probabilities": probabilities}
    with terminal.client(url) as client:
        job = client.predict_dataset(id, spec)
        if out is None:
            terminal.print_json(job) if as_json else typer.echo(job.id)
            return
        _await(client, job.id)
        (table,) = client.files(job.id)
        out.parent.mkdir(parents=True, exist_ok=True)
        client.download(table, out)
    terminal.print_json(table) if as_json else typer.echo(f"{out}: {out.stat().st_size:,} bytes")


@commands.command()
def export(
    id: Id,
    out: Annotated[Path, typer.Option(help="Folder for the files; made where there is none.")],
    format: Annotated[Format, typer.Option(help="What kind of file.")] = "onnx",
    url: Url = None,
) -> None:
    """Write a snapshot or an ensemble as one network for other programs: uint8 images in, probabilities out."""
    with terminal.client(url) as client:
        job = client.export(id, format)
        _await(client, job.id)
        out.mkdir(parents=True, exist_ok=True)
        for file in client.files(job.id):
            client.download(file, out / file.name)
            typer.echo(f"{out / file.name}: {file.size:,} bytes")


def _await(client: "Client", job_id: str) -> None:
    """Return once a job has succeeded; leave with what went wrong otherwise."""
    *_, job = client.watch(job_id)
    if job.status != "succeeded":
        told = job.error.message if job.error else f"Job {job_id} was {job.status}."
        raise terminal.refused(told, watching.exit_code(job.status))
