"""A folder as a container."""

import os
from contextlib import AbstractContextManager
from pathlib import Path

from trainer.datasets.budget import Budget
from trainer.datasets.container import Container, Listing
from trainer.datasets.findings import refused
from trainer.datasets.stream import Stream

LINK = "It is a link or no plain file; put the file itself there."


class Folder(Container):
    """The files below a folder. Links are refused, and never followed."""

    kind = "folder"

    def __init__(self, path: Path, budget: Budget) -> None:
        super().__init__(path.name, budget)
        self.path = path
        self._raw: dict[str, str] = {}
        listing = Listing(budget)
        self._walk(listing)
        listing.finish(self)

    def open(self, name: str) -> AbstractContextManager[Stream]:
        """An entry's bytes."""
        try:
            return os.fdopen(os.open(self.path / self._raw[name], os.O_RDONLY | os.O_NOFOLLOW), "rb")
        except OSError as error:
            raise refused(name, "unreadable", f"It cannot be opened: {error.strerror}.") from None

    def _walk(self, listing: Listing) -> None:
        folders = [""]
        while folders:
            below = folders.pop()
            with os.scandir(self.path / below) as found:
                for item in found:
                    raw = f"{below}/{item.name}" if below else item.name
                    if item.is_dir(follow_symlinks=False):
                        listing.folder(raw)
                        if raw.count("/") <= self.limits.depth:
                            folders.append(raw)
                    elif not item.is_file(follow_symlinks=False):
                        listing.refuse(raw, "link", LINK)
                    elif name := listing.file(raw, item.stat(follow_symlinks=False).st_size):
                        self._raw[name] = raw
