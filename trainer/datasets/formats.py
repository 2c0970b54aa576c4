"""What a container holds."""

from trainer.datasets import arrays, cifar, class_folders, mnist, table
from trainer.datasets.container import Container
from trainer.datasets.findings import refused
from trainer.datasets.options import Format
from trainer.datasets.source import Source


def read(container: Container, asked: Format | None, csv: str | None) -> Source:
    """Find out what it is, unless that was said, and begin to read it. Raises `DataRefused`.

    `csv` is the table to go by, where that was said.
    """
    chosen: Format = "table" if csv else asked or _recognise(container)
    match chosen:
        case "idx":
            return mnist.read(container)
        case "cifar":
            return cifar.read(container)
        case "arrays":
            return arrays.read(container)
        case "table":
            return table.read(container, csv or _table(container))
        case "class_folders":
            return class_folders.read(container)


def _recognise(container: Container) -> Format:
    """By the names of files; class folders are what is left."""
    found: list[Format] = []
    if mnist.finds(container):
        found.append("idx")
    if cifar.finds(container):
        found.append("cifar")
    if arrays.finds(container):
        found.append("arrays")
    if table.find(container):
        found.append("table")
    if len(found) > 1:
        detail = f"It holds {' and '.join(found)}; say which is meant (format), or take the others away."
        raise refused(container.name, "ambiguous", detail)
    return found[0] if found else "class_folders"


def _table(container: Container) -> str:
    tables = table.find(container)
    if len(tables) != 1:
        what = f"{len(tables)} tables ({', '.join(tables[:3])}, …)" if tables else "no CSV with `file` and `label`"
        raise refused(container.name, "no_table", f"It holds {what}; give one.")
    return tables[0]
