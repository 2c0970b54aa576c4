"""What a snapshot or an ensemble says of images: asked here, or taken along as a file."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.commands import terminal
from app.commands.terminal import AsJson, Url

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
        terminal.draw(screen.predictions_table(found, [path.name for path in images]))


@commands.command()
def export(
    id: Id,
    out: Annotated[Path, typer.Option(help="Folder for the files; made where there is none.")],
    format: Annotated[Literal["safetensors", "onnx", "torch-export"], typer.Option(help="What kind of file.")] = "onnx",
    url: Url = None,
) -> None:
    """Write a snapshot or an ensemble as one network for other programs: uint8 images in, probabilities out."""
    from app import exporting

    with terminal.client(url) as client:
        exporting.export(client, id, format, out)
    for path in sorted(out.iterdir()):
        typer.echo(f"{path}: {path.stat().st_size:,} bytes")
