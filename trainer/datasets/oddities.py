"""What is strange about a data set that was read well: warnings, none of which stops an import."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from trainer.datasets.findings import Findings
from trainer.datasets.manifest import Note
from trainer.datasets.writer import Written, WrittenSplit
from trainer.errors import Finding

IMBALANCED = 10
"""How many times as many images the largest class may have as the smallest."""


def notes(written: Written, classes: Sequence[str], keys: Sequence[str], limit: int) -> Iterator[Note]:
    """Of all kinds that were found."""
    train, *others = written.splits
    yield from _imbalance(train, classes)
    for split in others:
        yield from _missing(split, classes, limit)
    yield from _duplicates(written, keys, limit)
    if written.single_colour.count:
        count = written.single_colour.count
        yield written.single_colour.note("single_colour", f"{count} images are of one colour all over.")


def _imbalance(train: WrittenSplit, classes: Sequence[str]) -> Iterator[Note]:
    counts = np.bincount(train.labels, minlength=len(classes))
    most, fewest = int(counts.argmax()), int(counts.argmin())
    if counts[most] > IMBALANCED * counts[fewest]:
        yield Note(
            code="class_imbalance",
            detail=f"To train on, {classes[most]} has {counts[most]} images and {classes[fewest]} {counts[fewest]}; "
            "accuracy says little of the small classes.",
            entries=(classes[most], classes[fewest]),
            count=int((counts * IMBALANCED < counts[most]).sum()),
        )


def _missing(split: WrittenSplit, classes: Sequence[str], limit: int) -> Iterator[Note]:
    found = Findings(limit)
    for label in np.flatnonzero(np.bincount(split.labels, minlength=len(classes)) == 0).tolist():
        found.add(Finding(classes[label], "class_missing", f"It has no image in the {split.name} split."))
    if found.count:
        yield found.note("class_missing", f"{found.count} classes have no image in the {split.name} split.")


def _duplicates(written: Written, keys: Sequence[str], limit: int) -> Iterator[Note]:
    found = Findings(limit)
    for first, second in combinations(written.splits, 2):
        for at in np.flatnonzero(np.isin(second.digests, first.digests)).tolist():
            other = first.rows[np.flatnonzero(first.digests == second.digests[at])[0]] if found.count < limit else 0
            detail = f"It is the same image as {keys[other]} in the {first.name} split."
            found.add(Finding(keys[second.rows[at]], "duplicate", detail))
    if found.count:
        yield found.note(
            "duplicates_across_splits", f"{found.count} images stand in two splits, so that scores flatter."
        )
