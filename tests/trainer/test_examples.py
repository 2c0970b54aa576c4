"""The examples: valid, free of warnings they do not mean, and trainable, shortened."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer import data
from trainer.data import DataSet, Split
from trainer.document import read
from trainer.events import EpochFinished, TrainingFinished
from trainer.parsing import parse
from trainer.plan import check
from trainer.train import train

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
DIGITS = data.load("mnist5k")
FEW = DataSet(
    "mnist5k",
    Split(DIGITS.train.images[:256], DIGITS.train.labels[:256]),
    Split(DIGITS.validation.images[:100], DIGITS.validation.labels[:100]),
    DIGITS.classes,
)
MEANT = {"constant-initialization": ["symmetric_units"], "snapshot-ensemble": ["short_cycles"]}


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid_and_warns_only_of_what_it_means_to_show(path: Path) -> None:
    plan = check(read(path).spec(), DIGITS.facts)

    assert [warning.code for warning in plan.warnings] == MEANT.get(path.stem, [])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_begins_by_saying_what_it_shows(path: Path) -> None:
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_trains(path: Path) -> None:
    spec = parse(json.dumps(shortened(read(path).value)))

    events = list(train(spec, FEW, device=torch.device("cpu")))

    assert isinstance(events[-1], TrainingFinished)
    losses = [event.train_loss for event in events if isinstance(event, EpochFinished)]
    assert losses[-1] < losses[0]


def shortened(document: dict[str, Any]) -> dict[str, Any]:
    """In small batches, on one device; four epochs a training, its cycles, or all where they grow or are named."""
    schedule, ensemble = document["schedule"], document.get("ensemble", {})
    names_epochs = schedule["kind"] == "cosine_restarts" or "start" in ensemble
    epochs = document["epochs"] if names_epochs else schedule.get("cycles", 4)
    trainings = 1 + document.get("pruning", {}).get("rounds", 0)
    return document | {"epochs": epochs * trainings, "batch_size": 16, "devices": 1}
