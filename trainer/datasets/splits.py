"""Which image goes into which split."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from trainer.datasets.findings import refused
from trainer.datasets.manifest import Note, SplitName
from trainer.datasets.options import GivenSplit, SplitRule, StratifiedSplit

NAMES: tuple[SplitName, ...] = ("train", "validation", "test")
ALIASES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
"""What people call them, in small letters."""

TRAIN, VALIDATION, TEST = range(3)
NONE = -1
"""The split of an image whose source has no splits."""


@dataclass(frozen=True)
class Assigned:
    """The split of each image, and what is to be said of it."""

    splits: NDArray[np.int8]
    notes: tuple[Note, ...] = ()


def assign(
    rule: SplitRule,
    given: NDArray[np.int8],
    labels: NDArray[np.int32],
    draws: Sequence[str],
    classes: Sequence[str],
    source: str,
) -> Assigned:
    """The split of each image, from what the source says: TRAIN, VALIDATION, TEST or NONE. Raises `DataRefused`.

    `draws` are what each image is drawn by.
    """
    if isinstance(rule, GivenSplit):
        return _given(given, source)
    drawn = np.where(given == NONE, TRAIN, given).astype(np.int8)
    for split, share in ((VALIDATION, rule.validation), (TEST, rule.test)):
        if share and (given == split).any():
            raise refused(
                source,
                "split_twice",
                f"It has a {NAMES[split]} split of its own, and {share:g} of the images is asked for as another; leave "
                "one of the two out.",
            )
    train = np.flatnonzero(drawn == TRAIN).astype(np.int64)
    ranks = _ranks(rule, train, labels, draws, len(classes))
    totals = np.bincount(labels[train], minlength=len(classes)).astype(np.int64)
    tests = shares(totals, rule.test)
    validations = shares(totals, rule.validation)
    drawn[train[ranks < (tests + validations)[labels[train]]]] = VALIDATION
    drawn[train[ranks < tests[labels[train]]]] = TEST
    _check(rule, totals, tests, validations, classes)
    return Assigned(drawn)


def shares(totals: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """How many of each class make `share` of all, rounded half up: quotas rounded down, the rest to the largest
    remainders, the first class first among equals."""
    exact = Fraction(str(share))
    wanted = int(exact * int(totals.sum()) + Fraction(1, 2))
    quotas = [exact * int(total) for total in totals]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda index: counts[index] - quotas[index])
    for index in by_remainder[: wanted - sum(counts)]:
        counts[index] += 1
    return np.array(counts, np.int64)


def _given(given: NDArray[np.int8], source: str) -> Assigned:
    if (given == NONE).any() or not (given == TRAIN).any() or not (given > TRAIN).any():
        raise refused(
            source,
            "no_split",
            "It has no images apart to validate on; ask for a stratified split (a share for validation), or give the "
            "images in folders `train` and `validation`.",
        )
    if (given == VALIDATION).any():
        return Assigned(given)
    detail = "It has images to train and to test on and none to validate on; its test split validates."
    return Assigned(
        np.where(given == TEST, VALIDATION, given).astype(np.int8), (Note(code="test_validates", detail=detail),)
    )


def _ranks(
    rule: StratifiedSplit, images: NDArray[np.int64], labels: NDArray[np.int32], draws: Sequence[str], classes: int
) -> NDArray[np.int64]:
    """The place of each image within its class in the order of the draw."""
    start = f"{rule.seed}:".encode()
    digests = [sha256(start + draws[index].encode()).digest() for index in images.tolist()]
    taken = [0] * classes
    ranks = np.empty(len(images), np.int64)
    for place in sorted(range(len(images)), key=digests.__getitem__):
        label = labels[images[place]]
        ranks[place] = taken[label]
        taken[label] += 1
    return ranks


def _check(
    rule: StratifiedSplit,
    totals: NDArray[np.int64],
    tests: NDArray[np.int64],
    validations: NDArray[np.int64],
    classes: Sequence[str],
) -> None:
    wanted = {"train": totals - tests - validations, "validation": validations} | ({"test": tests} if rule.test else {})
    for name, counts in wanted.items():
        if (short := np.flatnonzero((counts < 1) & (totals > 0))).size:
            label = int(short[0])
            raise refused(
                classes[label],
                "class_too_small",
                f"Of its {totals[label]} images none would be left in the {name} split; give more of them, or another "
                "share.",
            )
