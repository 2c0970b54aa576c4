"""Tables too large for memory, as files: CSV (RFC 4180, UTF-8) or Parquet."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow

Format = Literal["csv", "parquet"]
MEDIA_TYPES: dict[Format, str] = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


@dataclass(frozen=True)
class Words:
    """A column of few words that come often: row i has `words[codes[i]]`."""

    codes: NDArray[np.int64]
    words: Sequence[str]


Column = NDArray[np.int64] | NDArray[np.float64] | Words
Write = Callable[[Sequence[Column]], None]
"""Appends rows: a column for each name, all of one length."""


@contextmanager
def opened(path: Path, kind: Format, names: Sequence[str]) -> Iterator[Write]:
    """Write a table with these columns; the file is whole once this is left."""
    with _csv(path, names) if kind == "csv" else _parquet(path, names) as write:
        yield write


@contextmanager
def _csv(path: Path, names: Sequence[str]) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)

        def write(columns: Sequence[Column]) -> None:
            # Python writes a float with as many digits as it takes to read the same again.
            writer.writerows(zip(*map(_values, columns), strict=True))

        yield write


@contextmanager
def _parquet(path: Path, names: Sequence[str]) -> Iterator[Write]:
    # Here: what forks this process is not to have its threads, and a training does not need it.
    import pyarrow
    import pyarrow.parquet

    with path.open("wb") as file:
        writer: pyarrow.parquet.ParquetWriter | None = None
        try:

            def write(columns: Sequence[Column]) -> None:
                nonlocal writer
                table = pyarrow.table(dict(zip(names, map(_arrow, columns), strict=True)))
                writer = writer or pyarrow.parquet.ParquetWriter(file, table.schema, compression="zstd")
                writer.write_table(table)

            yield write
        finally:
            if writer:
                writer.close()


def _values(column: Column) -> Sequence[int | float | str]:
    if isinstance(column, Words):
        return [column.words[code] for code in column.codes]
    values: Sequence[int | float] = column.tolist()
    return values


def _arrow(column: Column) -> "pyarrow.Array":
    import pyarrow

    if isinstance(column, Words):
        return pyarrow.DictionaryArray.from_arrays(column.codes, list(column.words)).dictionary_decode()
    return pyarrow.array(column)
