"""The data sets that specs can name."""

import typer

from app.commands import terminal
from app.commands.terminal import AsJson, Url

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
def datasets(url: Url = None, as_json: AsJson = False) -> None:
    """List the data sets that specs can name."""
    from app import screen

    with terminal.client(url) as client:
        terminal.show(as_json, client.datasets(), screen.dataset_table)
