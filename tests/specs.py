"""Specs and data for tests: as small as they can be."""

import json
from typing import Any

import numpy as np

from trainer.data import DataSet, Split
from trainer.parsing import parse
from trainer.spec import TrainingSpec


def document(**changes: Any) -> dict[str, Any]:
    """A spec that trains in a fraction of a second, as a user would write it."""
    return {
        "name": "tiny",
        "dataset": "mnist5k",
        "network": {"kind": "mlp", "hidden": [16]},
        "schedule": {"kind": "snapshot_cycles", "learning_rate": 0.05, "cycles": 2},
        "epochs": 4,
        "ensemble": {"kind": "snapshots", "last": 2},
    } | changes


def spec(**changes: Any) -> TrainingSpec:
    """The same, parsed."""
    return parse(json.dumps(document(**changes)))


def dataset(train: int = 40, validation: int = 20, shape: tuple[int, int, int] = (1, 8, 8)) -> DataSet:
    """Random images of four classes that differ in brightness, so that they can be learnt."""
    draws = np.random.default_rng(1)

    def split(count: int) -> Split:
        labels = draws.integers(0, 4, count)
        images = draws.integers(0, 60, (count, *shape)) + 45 * labels[:, None, None, None]
        return Split(images.astype(np.uint8), labels.astype(np.int64))

    return DataSet("tiny", split(train), split(validation), ("a", "b", "c", "d"))
