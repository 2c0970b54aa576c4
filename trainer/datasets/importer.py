"""Turns what people have into a pack: the way in of `trainer.datasets`."""

import os
import platform
import re
import secrets
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import PIL

from trainer.datasets import formats, images, names, oddities, pack, sheet, splits
from trainer.datasets.budget import Budget, Progress
from trainer.datasets.container import Container
from trainer.datasets.downloads import KNOWN, fetch
from trainer.datasets.findings import Findings, refused
from trainer.datasets.folder import Folder
from trainer.datasets.limits import Limits
from trainer.datasets.manifest import VERSION, Manifest, Note, Origin, SplitFacts, Splits
from trainer.datasets.options import ImportOptions
from trainer.datasets.source import Block, ImageFile, Source
from trainer.datasets.splits import NAMES, NONE
from trainer.datasets.spool import Spool
from trainer.datasets.tars import UNPACKERS, Tar
from trainer.datasets.writer import Writer, Written
from trainer.datasets.zips import Zip
from trainer.errors import DataInvalid, Finding

PARTIAL = ".partial-"
"""How the name of an unfinished folder begins, beside the one that it is to become."""

TAR_MARK = 257
"""Where a tar says that it is one."""

EXTENSION = re.compile(r"(\.tar)?\.(zip|npz|csv|tar|tgz|tbz2|txz|gz|bz2|xz)$", re.IGNORECASE)

DEFAULTS = ImportOptions()
LIMITS = Limits()


def import_data(
    path: Path,
    folder: Path,
    options: ImportOptions = DEFAULTS,
    *,
    name: str | None = None,
    limits: Limits = LIMITS,
    report: Callable[[Progress], None] | None = None,
) -> Manifest:
    """Pack what lies at `path` into `folder`, which must not exist and appears whole or not at all.

    `name` is the data set's, else the path's without its extensions. `report` is told how far it is and may raise,
    which ends the import. Memory is bounded by the limits, and disk by twice the pack. Raises `DataRefused` with what
    is wrong, entry by entry; `OSError` where the disk is full or the source cannot be read.
    """
    path, folder = (Path(os.path.abspath(each)) for each in (path, folder))
    if folder.exists():
        raise DataInvalid(f"{folder.name} exists already; give another folder.")
    if folder.is_relative_to(path):
        raise DataInvalid(f"{folder.name} lies within what is to be imported; give another folder.")
    budget = Budget(path.name, limits, report)
    table = path.name if path.suffix.lower() == ".csv" else None
    with _unfinished(folder) as partial, images.watched(limits), closing(_opened(path, budget)) as container:
        source = formats.read(container, options.format, table)
        return Import(container, source, partial, options, budget).run(name or EXTENSION.sub("", path.name))


def import_known(
    known: str,
    folder: Path,
    downloads: Path,
    options: ImportOptions = DEFAULTS,
    *,
    name: str | None = None,
    mirrors: Sequence[str] = (),
    limits: Limits = LIMITS,
    report: Callable[[Progress], None] | None = None,
) -> Manifest:
    """As `import_data`, of the one of `KNOWN` that is called so; its files come into `downloads` and stay there.

    `mirrors` are asked before those that are known. Raises `DataInvalid` where no mirror has a file.
    """
    path = fetch(KNOWN[known], downloads, mirrors=mirrors, report=report)
    if KNOWN[known].classes and not options.classes:
        options = options.model_copy(update={"classes": KNOWN[known].classes})
    return import_data(path, folder, options, name=name or known, limits=limits, report=report)


class Import:
    """One import into a folder of its own."""

    def __init__(
        self, container: Container, source: Source, folder: Path, options: ImportOptions, budget: Budget
    ) -> None:
        self.container = container
        self.source = source
        self.folder = folder
        self.options = options
        self.budget = budget
        self.unreadable = Findings(budget.limits.findings)
        self.misnamed = Findings(budget.limits.findings)
        self.spool = Spool(folder / "spool", budget.limits, budget.source)

    def run(self, name: str) -> Manifest:
        """Read, split, write, describe. Raises `DataRefused`."""
        classes = self._classes()
        with self.spool:
            self._read()
        if not self.options.skip_unreadable:
            self.unreadable.refuse()
        self.spool.misfits.refuse()
        if not len(self.spool):
            raise refused(self.budget.source, "no_images", "It has no image that can be read.")
        draws = self.spool.draws(self.source.start)
        assigned = splits.assign(
            self.options.split, self.spool.splits, self.spool.labels, draws, classes, self.budget.source
        )
        return self._pack(name, classes, assigned)

    def _classes(self) -> tuple[str, ...]:
        """The names of the classes, checked."""
        own, asked = self.source.classes, self.options.classes
        if asked and own != tuple(str(number) for number in range(len(own))):
            detail = f"It names its classes itself, {own[0]} the first; leave `classes` out."
            raise refused(self.budget.source, "classes_named", detail)
        if asked and len(asked) != len(own):
            detail = f"It has {len(own)} classes, and {len(asked)} names for them are given."
            raise refused(self.budget.source, "wrong_class_count", detail)
        check_classes(asked or own, self.budget)
        return asked or own

    def _read(self) -> None:
        """Decode every image into the spool."""
        done = 0
        for part in self.source.parts:
            split = NONE if part.split is None else NAMES.index(part.split)
            if isinstance(part, Block):
                fitted = images.fit_block(part.images, self.options)
                self.spool.add_block(part.name, part.first, part.labels, split, fitted)
                done += len(part.images)
            else:
                self._read_file(part, split)
                done += 1
            self.budget.tell("reading", done, self.source.count)

    def _read_file(self, part: ImageFile, split: int) -> None:
        if isinstance(part.content, Finding):
            self.unreadable.add(part.content)
            return
        try:
            image, kind = images.decode(part.content, self.budget.limits)
        except images.Unreadable as error:
            self.unreadable.add(Finding(part.name, error.code, error.detail))
            return
        if not images.belongs(part.name, kind):
            self.misnamed.add(Finding(part.name, "wrong_extension", f"It is {kind}."))
        self.spool.add(part.name, part.label, split, images.pixels(images.fit(image, self.options)))

    def _pack(self, name: str, classes: Sequence[str], assigned: splits.Assigned) -> Manifest:
        self._check_counts(classes, assigned)
        written = Writer(self.folder, self.spool, classes, self.budget).write(assigned.splits)
        self.spool.path.unlink()
        notes = [*self.source.notes, *assigned.notes, *self._file_notes()]
        notes += oddities.notes(written, classes, self.spool.keys, self.budget.limits.findings)
        manifest = self._manifest(name, classes, written, notes)
        train = pack.open_split(self.folder, "train", manifest)
        (self.folder / pack.SAMPLES).write_bytes(sheet.draw(train, classes))
        (self.folder / pack.MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        return manifest

    def _check_counts(self, classes: Sequence[str], assigned: splits.Assigned) -> None:
        """Refuse classes that have nothing to train on."""
        empty = Findings(self.budget.limits.findings)
        train = self.spool.labels[assigned.splits == splits.TRAIN]
        for label in np.flatnonzero(np.bincount(train, minlength=len(classes)) == 0).tolist():
            detail = "It has no image to train on; give some, or take the class away."
            empty.add(Finding(classes[label], "empty_class", detail))
        empty.refuse()

    def _file_notes(self) -> Iterator[Note]:
        if self.unreadable.count:
            yield self.unreadable.note(
                "unreadable", f"{self.unreadable.count} files could not be read and were left out."
            )
        if self.misnamed.count:
            yield self.misnamed.note(
                "wrong_extension",
                f"{self.misnamed.count} images are of another kind than their names say; they were read.",
            )

    def _manifest(self, name: str, classes: Sequence[str], written: Written, notes: Sequence[Note]) -> Manifest:
        assert self.spool.shape is not None
        channels, height, width = self.spool.shape
        facts = {
            split.name: SplitFacts(
                count=len(split.labels),
                per_class=tuple(np.bincount(split.labels, minlength=len(classes)).tolist()),
            )
            for split in written.splits
        }
        return Manifest(
            version=VERSION,
            name=name,
            sha256=written.sha256,
            classes=tuple(classes),
            channels=channels,
            height=height,
            width=width,
            splits=Splits(**facts),
            mean=written.mean,
            std=written.std,
            origin=Origin(
                source=self.container.name,
                container=self.container.kind,
                format=self.source.format,
                options=self.options,
                versions=_versions(),
            ),
            warnings=tuple(notes),
        )


def check_classes(classes: Sequence[str], budget: Budget) -> None:
    """Refuse what makes no list of class names. Raises `DataRefused`."""
    limits, found = budget.limits, Findings(budget.limits.findings)
    if len(classes) < 2:
        what = f"one class, {classes[0]}" if classes else "no classes"
        raise refused(budget.source, "one_class", f"It has {what}; a classifier needs two at least.")
    if len(classes) > limits.classes:
        raise refused(
            budget.source, "too_many_classes", f"It has {len(classes)} classes; at most {limits.classes} are taken."
        )
    seen: dict[str, str] = {}
    for name in classes:
        try:
            names.check_label(name, limits)
        except names.BadName as bad:
            found.add(Finding(names.printable(name), bad.code, bad.detail))
        other = seen.setdefault(names.folded(name), name)
        if other is not name:
            detail = f"This class and {names.printable(other)} differ by case or form only; rename one."
            found.add(Finding(names.printable(name), "colliding_name", detail))
    found.refuse()


def _opened(source: Path, budget: Budget) -> Container:
    """What lies at a path, by its content; around a CSV its folder."""
    if source.is_dir():
        return Folder(source, budget)
    if source.suffix.lower() == ".csv":
        return Folder(source.parent, budget)
    start = b""
    if stat.S_ISREG(source.stat().st_mode):
        with source.open("rb") as file:
            start = file.read(tarfile.BLOCKSIZE)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Zip(source, budget)
    if start.startswith(tuple(UNPACKERS)) or start[TAR_MARK : TAR_MARK + 5] == b"ustar":
        return Tar(source, budget)
    raise refused(
        source.name, "unknown_format", "It is no folder, zip, tar, npz or CSV; docs/datasets.md has what is read."
    )


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` that takes its name when all went well, and is gone when not."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f"{PARTIAL}{folder.name}-{secrets.token_hex(4)}")
    partial.mkdir()
    try:
        yield partial
        for path in partial.iterdir():
            _sync(path)
        _sync(partial)
        partial.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "numpy": np.__version__, "pillow": PIL.__version__}
