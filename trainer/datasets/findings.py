"""What is wrong, or only strange, with a source: the first of each kind, and how many."""

from collections.abc import Iterator

from trainer.datasets.manifest import Note
from trainer.errors import DataRefused, Finding


class Findings:
    """Collects findings in bounded memory."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0
        self._kept: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """One more; it is kept if it is among the first."""
        self.count += 1
        if len(self._kept) < self.limit:
            self._kept.append(finding)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._kept)

    def refuse(self) -> None:
        """Raise `DataRefused` if there is any."""
        if self.count:
            raise DataRefused(self._kept, self.count)

    def note(self, code: str, detail: str) -> Note:
        """The same as a warning that is kept with the data set."""
        entries = tuple(f"{finding.entry}: {finding.detail}" for finding in self._kept)
        return Note(code=code, detail=detail, entries=entries, count=self.count)


def refused(entry: str, code: str, detail: str) -> DataRefused:
    """An error of one finding."""
    return DataRefused([Finding(entry, code, detail)])
