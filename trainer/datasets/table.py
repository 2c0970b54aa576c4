"""A CSV with a row for each image, beside the images.

The first row names the columns: `file` (or `filename`, `path`, `image`), `label` (or `class`, `category`) and, if
wanted, `split` (or `set`, `subset`). Paths are relative to the CSV. Comma, semicolon or tab divides, the text is UTF-8.
"""

import csv
import io
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from trainer.datasets import names
from trainer.datasets.container import Container
from trainer.datasets.findings import Findings, refused
from trainer.datasets.manifest import SplitName
from trainer.datasets.source import ImageFile, Source, ignored_note
from trainer.datasets.splits import ALIASES
from trainer.errors import DataRefused, Finding

FILE_COLUMNS = ("file", "filename", "path", "image")
LABEL_COLUMNS = ("label", "class", "category")
SPLIT_COLUMNS = ("split", "set", "subset")
MOST_TABLES = 8
"""How many are looked into."""


@dataclass(frozen=True)
class Columns:
    """Places in a row; `split` is None where there is no such column."""

    file: int
    label: int
    split: int | None


@dataclass(frozen=True)
class Row:
    """Where an image belongs."""

    split: SplitName | None
    label: str


def find(container: Container) -> list[str]:
    """Every CSV that names images and labels, of those in the uppermost folder that has any, if they are few."""
    tables = [name for name in container.entries if name.lower().endswith(".csv") and not names.is_litter(name)]
    uppermost = min((name.count("/") for name in tables), default=0)
    tables = [name for name in tables if name.count("/") == uppermost]
    return [name for name in tables if _is_table(container, name)] if len(tables) <= MOST_TABLES else []


def read(container: Container, table: str) -> Source:
    """The images in a table's rows. Raises `DataRefused` with every row that is wrong."""
    columns, reader = _rows(container, table)
    rows, findings = _checked(container, table, columns, reader)
    findings.refuse()
    if not rows:
        raise refused(table, "no_images", "It has no row besides the names of the columns.")
    classes = tuple(sorted({row.label for row in rows.values()}))
    notes = ignored_note(container, [table, *rows])
    start = table[: table.rfind("/") + 1]
    return Source("table", classes, _parts(container, rows, classes), len(rows), notes, start)


def _parts(container: Container, rows: dict[str, Row], classes: tuple[str, ...]) -> Iterator[ImageFile]:
    numbers = {name: number for number, name in enumerate(classes)}
    for name, content in container.each(rows):
        yield ImageFile(rows[name].split, numbers[rows[name].label], name, content)


def _checked(
    container: Container, table: str, columns: Columns, reader: "Iterator[list[str]]"
) -> tuple[dict[str, Row], Findings]:
    rows: dict[str, Row] = {}
    findings = Findings(container.limits.findings)
    folder = posixpath.dirname(table)
    number = 1
    try:
        for number, cells in enumerate(reader, 2):
            if not cells:
                continue
            problem = _add(container, rows, columns, cells, folder)
            if problem:
                findings.add(Finding(f"{table}:{number}", *problem))
    except csv.Error as error:
        raise refused(f"{table}:{number + 1}", "not_csv", f"This row cannot be read: {error}.") from None
    return rows, findings


def _add(
    container: Container, rows: dict[str, Row], columns: Columns, cells: list[str], folder: str
) -> tuple[str, str] | None:
    """Take a row, or say what is wrong with it."""
    if len(cells) <= max(columns.file, columns.label, columns.split or 0):
        return "short_row", f"This row has {len(cells)} cells, fewer than there are columns."
    try:
        name = posixpath.join(folder, names.clean(cells[columns.file].strip(), container.limits))
    except names.BadName as bad:
        return bad.code, bad.detail
    if name not in container.entries:
        return "missing_file", f"There is no file {names.printable(name)} beside the table."
    label = cells[columns.label].strip()
    if not label:
        return "empty_label", f"{names.printable(name)} has no label; give it one."
    split: SplitName | None = None
    if columns.split is not None:
        word = cells[columns.split].strip()
        if word.lower() not in ALIASES:
            return "unknown_split", f"There is no split {names.printable(word)!r}; it is train, validation or test."
        split = ALIASES[word.lower()]
    if name in rows:
        return "file_twice", f"{names.printable(name)} stands in two rows; keep one of them."
    rows[name] = Row(split, label)
    return None


def _is_table(container: Container, name: str) -> bool:
    try:
        _rows(container, name)
    except DataRefused:
        return False
    return True


def _rows(container: Container, table: str) -> tuple[Columns, "Iterator[list[str]]"]:
    """The columns of a table, and its rows below them. Raises `DataRefused`."""
    try:
        text = container.read(table).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        detail = f"It is not UTF-8: the byte at offset {error.start} belongs to no character; save it as UTF-8."
        raise refused(table, "not_utf8", detail) from None
    first = text.partition("\n")[0]
    divider = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=divider, strict=True)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
    except csv.Error as error:
        raise refused(table, "not_csv", f"Its first row cannot be read: {error}.") from None
    file, label, split = (
        next((header.index(word) for word in words if word in header), None)
        for words in (FILE_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS)
    )
    if file is None or label is None:
        raise refused(
            table, "no_columns", "Its first row must name the columns: `file` and `label`, and `split` if wanted."
        )
    return Columns(file, label, split), reader
