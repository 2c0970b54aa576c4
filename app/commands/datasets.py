"""The data sets that specs can name: listed, added, shown, deleted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from app.commands import terminal
from app.commands.terminal import BAD_INPUT, AsJson, Url
from app.commands.watching import exit_code
from trainer.datasets.options import Filter, Fit, Format
from trainer.spec.importing import Known

if TYPE_CHECKING:
    from app.api.schemas import DatasetDetailView
    from app.client import Client

commands = typer.Typer(help="List, add, show and delete data sets.", rich_markup_mode=None)

KNOWN = get_args(Known)
TABLE = ".csv"
REMEDIES = {
    "mixed_sizes": "--size, such as --size 64",
    "mixed_channels": "--channels 1 or --channels 3",
    "no_split": "--validation, such as --validation 0.2",
}
"""The option that helps, by what was found."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of a data set.", show_default=False)]


@commands.callback(invoke_without_command=True)
def datasets(context: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    """List, add, show and delete the data sets that specs can name; alone it lists them."""
    if context.invoked_subcommand is None:
        list_datasets(url, as_json)


@commands.command("list")
def list_datasets(url: Url = None, as_json: AsJson = False) -> None:
    """List the data sets that specs can name."""
    from app import screen

    with terminal.client(url) as client:
        terminal.show(as_json, client.datasets(), screen.dataset_table)


@commands.command()
def add(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help=f"Folder, zip, tar, npz or CSV; or {', '.join(KNOWN)}.", show_default=False
        ),
    ],
    name: Annotated[str | None, typer.Option(help="What specs name it by; default: that of the path.")] = None,
    format: Annotated[Format | None, typer.Option(help="What it is; default: found out.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HEIGHTxWIDTH", help="Of the images, in pixels; default: as they are.")
    ] = None,
    fit: Annotated[Fit, typer.Option(help="What images of another shape lose or gain.")] = "crop",
    filter: Annotated[Filter, typer.Option(help="How pixels are averaged where images are resized.")] = "bilinear",
    channels: Annotated[
        int | None, typer.Option(min=1, max=3, help="1 for grey, 3 for colour; default: as they are.")
    ] = None,
    validation: Annotated[
        float | None, typer.Option(help="Share of the images that validate; default: as the source has it.")
    ] = None,
    test: Annotated[float, typer.Option(help="Share of the images that test, with --validation.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw of these.")] = 0,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Name of a class, in the order of their numbers; repeatable.")
    ] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out what cannot be read, and say what.")
    ] = False,
    licence: Annotated[str | None, typer.Option(help="Under which the images may be used, for model cards.")] = None,
    owner: Annotated[str | None, typer.Option(help="Whose it is, where no keys are asked for.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Upload data and make a data set of it. Begun again after a cut, it goes on where it was.

    Exit codes as of `watch`: 3 where the data is refused.
    """
    from pydantic import ValidationError

    from trainer.datasets.options import ImportOptions

    document: dict[str, Any] = {
        "format": "table" if format is None and Path(path).suffix.lower() == TABLE else format,
        "size": _size(size),
        "fit": fit,
        "filter": filter,
        "channels": channels,
        "classes": tuple(classes) if classes else None,
        "licence": licence,
        "skip_unreadable": skip_unreadable,
    }
    if validation is not None or test:
        split = {"kind": "stratified", "validation": validation or 0.0, "test": test, "seed": seed}
        document["split"] = split
    try:
        options = ImportOptions.model_validate(document)
    except ValidationError as error:
        wrong = [f"--{'.'.join(map(str, one['loc']))}: {one['msg']}." for one in error.errors()]
        raise terminal.refused("\n".join(wrong), BAD_INPUT) from None
    asked = options.model_dump(mode="json", exclude_defaults=True)
    with terminal.client(url) as client:
        _make(client, path, name, asked, owner, as_json)


@commands.command()
def show(name: Name, url: Url = None, as_json: AsJson = False) -> None:
    """Show a data set: classes, splits, warnings, and why its import has failed if it has."""
    with terminal.client(url) as client:
        _show(client.dataset(name), as_json)


@commands.command()
def delete(name: Name, url: Url = None) -> None:
    """Delete a data set that no job and no ensemble needs."""
    with terminal.client(url) as client:
        client.delete_dataset(name)
    typer.echo("deleted")


@commands.command()
def sample(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PNG", help="The picture; default: NAME.png.")
    ] = None,
    url: Url = None,
) -> None:
    """Write a picture of some images of each class."""
    path = output or Path(f"{name}.png")
    with terminal.client(url) as client:
        path.write_bytes(client.sample(name))
    typer.echo(str(path))


def _make(
    client: "Client", path: str, name: str | None, options: dict[str, Any], owner: str | None, as_json: bool
) -> None:
    from rich.console import Console

    from app import screen

    console = Console(stderr=True)
    given = Path(path)
    if path in KNOWN and not given.exists():
        made = client.make_dataset({"kind": "named", "name": path}, name, options, owner=owner)
    else:
        sent = given.resolve().parent if given.suffix.lower() == TABLE else given
        with screen.bytes_bar(console, given.name or str(given)) as report:
            upload = client.upload(sent, owner=owner, report=report)
        source = {"kind": "upload", "upload": upload.id}
        made = client.make_dataset(source, name or _stem(given), options, owner=owner, keep_upload=True)
    if made.status == "importing" and made.links.job:
        job = screen.follow(console, client, made.links.job.rpartition("/")[2])
        _show(client.dataset(made.name), as_json)
        raise typer.Exit(exit_code(job.status))
    _show(made, as_json)


def _show(dataset: "DatasetDetailView", as_json: bool) -> None:
    from app import screen

    if as_json:
        terminal.print_json(dataset)
        return
    terminal.draw(screen.dataset_summary(dataset))
    for line in screen.dataset_lines(dataset):
        typer.echo(line)
    found = {place.code for place in dataset.error.errors} if dataset.error else set()
    for code in REMEDIES.keys() & found:
        typer.echo(f"Add it again with {REMEDIES[code]}; what was sent need not be sent again.")


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.partition("x")
    if not (height.isdecimal() and (width or height).isdecimal()):
        raise terminal.refused(f"--size is HEIGHTxWIDTH or one number, in pixels; it is {text}.", BAD_INPUT)
    return int(height), int(width or height)


def _stem(path: Path) -> str:
    """A name for what lies at a path, in the letters that names have."""
    stem = path.resolve().name.partition(".")[0].lower()
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "-" for letter in stem)
