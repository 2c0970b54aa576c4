"""What files come in: a folder, a zip or a tar, all read entry by entry and never extracted."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from typing import ClassVar

from trainer.datasets import names
from trainer.datasets.budget import Budget
from trainer.datasets.findings import Findings, refused
from trainer.datasets.stream import Stream
from trainer.errors import DataRefused, Finding

PIECE = 64 * 1024


class Guarded:
    """A stream whose errors tell which entry is damaged."""

    def __init__(self, stream: Stream, name: str, errors: tuple[type[Exception], ...]) -> None:
        self._stream = stream
        self._name = name
        self._errors = errors

    def read(self, size: int, /) -> bytes:
        """As the stream's own. Raises `DataRefused`."""
        try:
            return self._stream.read(size)
        except self._errors as error:
            raise damaged(self._name, error) from None


class Container(ABC):
    """Entries by their clean paths with their sizes in bytes, in the order of code points, and all folders."""

    kind: ClassVar[str]

    def __init__(self, name: str, budget: Budget) -> None:
        self.name = name
        self.budget = budget
        self.limits = budget.limits
        self.entries: dict[str, int] = {}
        self.folders: frozenset[str] = frozenset()

    @abstractmethod
    def open(self, name: str) -> AbstractContextManager[Stream]:
        """An entry's bytes as a stream that is read forward. Raises `DataRefused` here or where it is read."""

    def close(self) -> None:
        """Let go of the file."""
        return

    def each(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | Finding]]:
        """These entries whole, or why one cannot be read, in the order that is cheapest."""
        readable = set()
        for name in wanted:
            if finding := self._unfit(name):
                yield name, finding
            else:
                readable.add(name)
        yield from self._each(readable)

    def read(self, name: str) -> bytes:
        """One entry whole. Raises `DataRefused` where it is empty, too large or damaged."""
        if finding := self._unfit(name):
            raise DataRefused([finding])
        with self.open(name) as stream:
            return read_whole(stream, self.entries[name], name)

    def _each(self, wanted: set[str]) -> Iterator[tuple[str, bytes | Finding]]:
        for name in sorted(wanted):
            try:
                yield name, self.read(name)
            except DataRefused as error:
                yield name, error.findings[0]

    def _unfit(self, name: str) -> Finding | None:
        """Why an entry is not to be held in memory, if it is not."""
        size, most = self.entries[name], self.limits.entry_bytes
        if names.is_nested(name):
            return Finding(name, "nested_archive", "It is an archive within the source; unpack it, or take it away.")
        if size == 0:
            return Finding(name, "empty_file", "It is empty; copy it again, or take it away.")
        if size > most:
            return Finding(name, "file_too_large", f"It has {size} bytes; at most {most} are read of one file.")
        return None


class Listing:
    """Collects the entries of a container and refuses names that climb, collide or deceive."""

    def __init__(self, budget: Budget) -> None:
        self.limits = budget.limits
        self.budget = budget
        self.findings = Findings(budget.limits.findings)
        self.entries: dict[str, int] = {}
        self.folders: set[str] = set()
        self.total = 0
        self._seen = 0
        self._folded: dict[str, str] = {}

    def file(self, raw: str, size: int) -> str | None:
        """One more file; its clean path, or None where it is refused."""
        name = self._clean(raw)
        if name is None:
            return None
        if name in self.entries:
            self.refuse(raw, "duplicate_name", "Its name stands twice; keep one of them.")
            return None
        self.entries[name] = size
        self.total += size
        self._add_folders(name.rpartition("/")[0])
        self._check_collision(name)
        if self.total > self.limits.unpacked_bytes:
            self._stop("too_large", f"It unpacks to more than {self.limits.unpacked_bytes} bytes; give less at a time.")
        return name

    def folder(self, raw: str) -> None:
        """One more folder, which may be empty."""
        if raw.strip("./") == "" and ".." not in raw:
            return
        if name := self._clean(raw):
            self._add_folders(name)

    def refuse(self, raw: str, code: str, detail: str) -> None:
        """Note what is wrong with an entry."""
        self.findings.add(Finding(names.printable(raw), code, detail))

    def check_ratio(self, packed: int) -> None:
        """Refuse what unpacks to many times its size. Raises `DataRefused`."""
        if self.total > self.limits.ratio_from_bytes and self.total > self.limits.ratio * max(packed, 1):
            self._stop(
                "bomb",
                f"It unpacks to {self.total} bytes, more than {self.limits.ratio} times its own {packed}; give the "
                "files unpacked or packed less.",
            )

    def finish(self, container: Container) -> None:
        """Give the container its entries. Raises `DataRefused` with every entry that was refused."""
        for name in self.folders & self.entries.keys():
            self.refuse(name, "duplicate_name", "Its name is that of a folder too; rename one of them.")
        self.findings.refuse()
        container.entries = dict(sorted(self.entries.items()))
        container.folders = frozenset(self.folders)

    def _clean(self, raw: str) -> str | None:
        self._seen += 1
        if self._seen > self.limits.entries:
            self._stop("too_many_entries", f"It has more than {self.limits.entries} entries; give fewer at a time.")
        if self._seen % 1000 == 0:
            self.budget.tell("listing", self.total, None)
        try:
            return names.clean(raw, self.limits)
        except names.BadName as bad:
            self.refuse(raw, bad.code, bad.detail)
            return None

    def _add_folders(self, name: str) -> None:
        while name and name not in self.folders:
            self.folders.add(name)
            self._check_collision(name)
            name = name.rpartition("/")[0]

    def _check_collision(self, name: str) -> None:
        key = names.folded(name)
        other = self._folded.get(key, name) if key == name else self._folded.setdefault(key, name)
        if key != name and (key in self.entries or key in self.folders):
            other = key
        if other != name:
            self.refuse(
                name,
                "colliding_name",
                f"Its name differs from {names.printable(other)} by case or form only; rename one.",
            )

    def _stop(self, code: str, detail: str) -> None:
        raise refused(self.budget.source, code, detail)


def damaged(name: str, error: Exception) -> DataRefused:
    """An error of an entry, or of a whole archive, that cannot be unpacked."""
    reason = str(error).rstrip(".") or type(error).__name__
    return refused(name, "damaged", f"It is damaged: {reason}; pack or copy it again.")


def read_exactly(stream: Stream, size: int, name: str) -> bytes:
    """The next `size` bytes. Raises `DataRefused` where the stream ends before."""
    data = bytearray()
    while len(data) < size and (piece := stream.read(min(PIECE, size - len(data)))):
        data += piece
    if len(data) < size:
        raise refused(name, "damaged", f"It ends {size - len(data)} bytes too early; pack or copy it again.")
    return bytes(data)


def read_whole(stream: Stream, size: int, name: str) -> bytes:
    """All that a stream has, which must be `size` bytes; no more is ever held. Raises `DataRefused`."""
    pieces, left = [], size + 1
    while left and (piece := stream.read(min(PIECE, left))):
        pieces.append(piece)
        left -= len(piece)
    if left != 1:
        more = "more" if left == 0 else f"{size + 1 - left}"
        raise refused(name, "damaged", f"It promises {size} bytes and holds {more}; pack or copy it again.")
    return b"".join(pieces)
