"""Samples of a time or a speed, and tables of them."""

from collections.abc import Sequence
from statistics import median, quantiles

from rich import box
from rich.table import Table


def percentile(samples: Sequence[float], percent: int) -> float:
    """The value that `percent` of the samples do not exceed."""
    return quantiles(samples, n=100, method="inclusive")[percent - 1]


def spread(samples: Sequence[float], digits: int = 2) -> str:
    """`median (smallest to largest)`."""
    return f"{median(samples):,.{digits}f} ({min(samples):,.{digits}f} to {max(samples):,.{digits}f})"


def table(title: str, *headers: str) -> Table:
    """An empty table: a name, then figures."""
    made = Table(*headers[:1], title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for header in headers[1:]:
        made.add_column(header, justify="right")
    return made
