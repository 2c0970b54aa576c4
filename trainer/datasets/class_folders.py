"""Images in folders named for their classes, with or without folders for splits above them."""

from collections.abc import Iterator
from dataclasses import dataclass

from trainer.datasets import names
from trainer.datasets.container import Container
from trainer.datasets.findings import Findings, refused
from trainer.datasets.manifest import Note, SplitName
from trainer.datasets.source import ImageFile, Source
from trainer.datasets.splits import ALIASES
from trainer.errors import Finding

DOCUMENTS = (".txt", ".md", ".rst", ".pdf", ".html", ".json", ".yaml", ".yml", ".xml", ".csv", ".tsv")


@dataclass(frozen=True)
class Place:
    """Where an image belongs."""

    split: SplitName | None
    label: str


def read(container: Container) -> Source:
    """The images of every class folder. Raises `DataRefused` where files lie in none."""
    layout = _Layout(container)
    layout.findings.refuse()
    classes = tuple(sorted(layout.classes))
    parts = _parts(container, layout.places, classes)
    return Source("class_folders", classes, parts, len(layout.places), layout.notes(), layout.start)


def _parts(container: Container, places: dict[str, Place], classes: tuple[str, ...]) -> Iterator[ImageFile]:
    numbers = {name: number for number, name in enumerate(classes)}
    for name, content in container.each(places):
        place = places[name]
        yield ImageFile(place.split, numbers[place.label], name, content)


class _Layout:
    """What each path means."""

    def __init__(self, container: Container) -> None:
        self.findings = Findings(container.limits.findings)
        self.ignored = Findings(container.limits.findings)
        self.places: dict[str, Place] = {}
        self.classes: set[str] = set()
        self.start = _wrapper(container)
        self._splits = _split_folders(container, self.start)
        for folder in container.folders:
            self._add_class(folder)
        for name in container.entries:
            self._add_file(name)

    def notes(self) -> tuple[Note, ...]:
        if not self.ignored.count:
            return ()
        return (self.ignored.note("ignored_files", "Files that are no images of any class were left aside."),)

    def _add_class(self, folder: str) -> None:
        if names.is_litter(folder) or not folder.startswith(self.start):
            return
        parts = folder[len(self.start) :].split("/")
        if self._splits:
            if parts[0] in self._splits and len(parts) == 2:
                self.classes.add(parts[1])
        elif len(parts) == 1 and parts[0]:
            self.classes.add(parts[0])

    def _add_file(self, name: str) -> None:
        if names.is_litter(name):
            self.ignored.add(Finding(name, "litter", "It is hidden, or a file manager's own."))
            return
        parts = name[len(self.start) :].split("/") if name.startswith(self.start) else [name]
        within = parts[1:] if self._splits and parts[0] in self._splits else parts
        if len(within) >= 2 and (not self._splits or within is not parts):
            split = self._splits[parts[0]] if self._splits else None
            self.places[name] = Place(split, within[0])
        elif name.lower().endswith(DOCUMENTS) or "." not in parts[-1]:
            self.ignored.add(Finding(name, "document", "It lies in no class folder."))
        else:
            self.findings.add(
                Finding(name, "no_class", "It lies in no class folder; put it into one, or take it away.")
            )


def _wrapper(container: Container) -> str:
    """The one folder around all others, with its `/`, as archives often have it; else nothing."""
    start = ""
    while True:
        tops = _tops(container, start)
        if len(tops) != 1 or (top := tops.pop()).lower() in ALIASES or not _tops(container, f"{start}{top}/"):
            return start
        start = f"{start}{top}/"


def _tops(container: Container, start: str) -> set[str]:
    """The folders right below `start`."""
    below = (folder[len(start) :] for folder in container.folders if folder.startswith(start))
    return {folder for folder in below if folder and "/" not in folder and not names.is_litter(folder)}


def _split_folders(container: Container, start: str) -> dict[str, SplitName]:
    """The folders that are splits. A class may be called `train` where it has no folders below it."""
    tops = _tops(container, start)
    found = {top: ALIASES[top.lower()] for top in sorted(tops) if top.lower() in ALIASES}
    if "train" not in found.values() or not any(_tops(container, f"{start}{top}/") for top in found):
        return {}
    by_split: dict[SplitName, str] = {}
    for top, split in found.items():
        if split in by_split:
            raise refused(top, "split_twice", f"It and {by_split[split]} are the same split; keep one of them.")
        by_split[split] = top
    return found
