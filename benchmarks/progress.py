"""How far the trials of a benchmark are, in the terminal."""

from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.trials import Trial

COLUMNS = (
    TextColumn("{task.description:<44}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TextColumn("left"),
    TimeRemainingColumn(),
)
ESTIMATED_SECONDS = 300
"""Trainings take from a second to a minute: the time left follows from the last minutes, not seconds."""


def follow(finished: Iterable[Trial], total: int, console: Console) -> None:
    """Show each trial as it is finished, and the time left."""
    with Progress(*COLUMNS, console=console, speed_estimate_period=ESTIMATED_SECONDS) as shown:
        task = shown.add_task("", total=total)
        for trial in finished:
            shown.update(task, advance=1, description=f"{trial.variant}, {trial.labels} labels, seed {trial.seed}")
