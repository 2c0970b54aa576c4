"""Ways to predict with more than one model, beside a single one of the same epochs: as specs and as arithmetic.

A training's result is what each of its snapshots predicts for the validation images: (M, N, K) log-probabilities.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer import selection, splits
from trainer.ensemble import average
from trainer.evaluate import scores
from trainer.parsing import parse
from trainer.scores import calibration
from trainer.spec import TrainingSpec

MEMBERS = 5
LAST = 3
GREEDY_STEPS = 20
RATE = 0.01
LOWEST_RATE = 0.003
"""Of the last steps whose weights are averaged."""

BATCH_SIZES = {100: 10, 500: 25, 4000: 50}
EPOCHS = {100: 200, 500: 100, 4000: 25}
"""Of a single training, by the number of labels: some 2,000 steps for each."""

SINGLE = "single"
CYCLIC = "cyclic"
SHORT = "short"
LONG = "long"
AVERAGED = "averaged"

Predicted = Sequence[Tensor]
"""What the models of each training predict: (M, N, K) each."""


@dataclass(frozen=True)
class Found:
    """On the validation images."""

    error: float
    negative_log_likelihood: float
    calibration_error: float


@dataclass(frozen=True)
class Treatment:
    """What is made of trainings; `cost` is in epochs of the single model's training."""

    name: str
    cost: float
    trainings: tuple[str, ...]
    measure: Callable[[Predicted, Tensor], Found]


def spec(training: str, labels: int, seed: int, shortened: int = 1) -> TrainingSpec:
    """The spec of a training by its name, or one with that part of the epochs, to try it. Raises `SpecInvalid`."""
    epochs = EPOCHS[labels] // shortened
    document = {
        "name": f"{training}, {labels} labels",
        "dataset": "mnist5k",
        "seed": seed,
        "device": "cpu",
        "network": {"kind": "convnet", "channels": [8, 16], "batch_norm": {}, "initialization": {"kind": "he"}},
        "augmentation": [{"kind": "random_crop", "padding": 2}],
        "optimizer": {"kind": "sgd", "momentum": {"form": "nesterov", "m": 0.9}},
        "schedule": {"kind": "cosine", "learning_rate": RATE},
        "batch_size": BATCH_SIZES[labels],
        "epochs": epochs,
        "inspection": {"every": 0, "lint": "off"},
    }
    return parse(json.dumps(document | _changes(training, epochs)))


def _changes(training: str, epochs: int) -> dict[str, Any]:
    independent = {"kind": "independent", "members": MEMBERS}
    changes: Mapping[str, dict[str, Any]] = {
        CYCLIC: {"schedule": {"kind": "snapshot_cycles", "learning_rate": RATE, "cycles": MEMBERS}},
        SHORT: {"ensemble": independent, "epochs": epochs // MEMBERS},
        LONG: {"ensemble": independent},
        AVERAGED: {
            "schedule": {"kind": "cosine", "learning_rate": RATE, "minimum": LOWEST_RATE},
            "ensemble": {"kind": "swa", "start": epochs // 2},
        },
    }
    return changes[training]


def measured(log_probabilities: Tensor, labels: Tensor) -> Found:
    """Scores of (N, K) against (N,)."""
    found = scores(log_probabilities, labels)
    error = calibration(log_probabilities, labels).expected_calibration_error
    return Found(found.error, found.negative_log_likelihood, error)


def first(predicted: Predicted, labels: Tensor) -> Found:
    """The first model."""
    return measured(predicted[0][0], labels)


def last(count: int) -> Callable[[Predicted, Tensor], Found]:
    """The last `count` models of the first training, their probabilities averaged."""
    return lambda predicted, labels: measured(_mean(predicted[0][-count:]), labels)


def greedily(predicted: Predicted, labels: Tensor) -> Found:
    """Models of all trainings, chosen on one half of the images and scored on the other, and the other way round."""
    models = torch.cat(list(predicted))
    halves = splits.halves(labels, seed=0)
    together = torch.empty_like(models[0])
    for chosen_on, scored_on in (halves, halves[::-1]):
        steps = selection.greedily(list(models[:, chosen_on]), labels[chosen_on], "negative_log_likelihood", "mean")
        path = selection.best_size([next(steps) for _ in range(GREEDY_STEPS)]).path
        together[scored_on] = _mean(models[list(path)][:, scored_on])
    return measured(together, labels)


def _mean(members: Tensor) -> Tensor:
    return average(list(members), [1 / len(members)] * len(members))


TREATMENTS = (
    # The first of independent members has the spec's own seed: it is the single model.
    Treatment(SINGLE, 1, (LONG,), first),
    Treatment(f"snapshots, all {MEMBERS}", 1, (CYCLIC,), last(MEMBERS)),
    Treatment(f"snapshots, last {LAST}", 1, (CYCLIC,), last(LAST)),
    Treatment("the last snapshot alone", 1, (CYCLIC,), last(1)),
    Treatment("SWA", 1, (AVERAGED,), last(1)),
    Treatment(f"{MEMBERS} independent, a {MEMBERS}th of the epochs each", 1, (SHORT,), last(MEMBERS)),
    Treatment(f"{MEMBERS} independent", MEMBERS, (LONG,), last(MEMBERS)),
    Treatment("greedy selection from these and the snapshots", MEMBERS + 1, (LONG, CYCLIC), greedily),
)
