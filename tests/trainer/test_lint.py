"""What starts badly is told with its layer, its number and a remedy, or ends the training."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from typing import Any

import pytest
import torch

from tests.specs import dataset, spec
from tests.trainer.test_inspect import EXAMPLES
from trainer import data, document
from trainer.errors import Diverged, LintRefused
from trainer.events import EpochFinished, Event, LintFound, StepsFinished
from trainer.train import train

TINY = dataset()
DEEP = {"kind": "mlp", "hidden": [20] * 8}


def lints(**changes: Any) -> list[LintFound]:
    """What is found before the first step."""
    events = train(spec(batch_size=16, epochs=2, **changes), TINY, device=torch.device("cpu"))
    first = takewhile(lambda event: not isinstance(event, StepsFinished | EpochFinished), tolerant(events))
    return [event for event in first if isinstance(event, LintFound)]


def tolerant(events: Iterator[Event]) -> Iterator[Event]:
    """Events up to a divergence, which a bad start may well come to."""
    with suppress(Diverged):
        yield from events


@pytest.mark.parametrize(
    ("network", "code", "number"),
    [
        (DEEP | {"initialization": {"kind": "small_random", "std": 0.01}}, "vanishing", "std "),
        (DEEP | {"initialization": {"kind": "small_random", "std": 10.0}}, "exploding", "std "),
        (DEEP | {"initialization": {"kind": "constant", "value": -0.1}}, "dead", "100% of its units"),
        (
            DEEP | {"activation": "tanh", "initialization": {"kind": "small_random", "std": 5.0}},
            "saturated",
            "of its outputs are saturated",
        ),
        (DEEP | {"initialization": {"kind": "constant", "value": 0.1}}, "symmetric", "all its units"),
    ],
)
def test_a_bad_start_is_told_with_layer_number_and_remedy(network: Any, code: str, number: str) -> None:
    found = [one for one in lints(network=network) if one.code == code]

    assert found
    assert all(one.layer in one.detail and number in one.detail and "try " in one.detail for one in found)


def test_outputs_that_are_not_finite_explode() -> None:
    network = {"kind": "mlp", "hidden": [64] * 40, "initialization": {"kind": "small_random", "std": 10.0}}

    with pytest.raises(LintRefused, match="std not finite"):
        lints(network=network, inspection={"lint": "refuse"})


def test_refusing_ends_the_training_before_its_first_step() -> None:
    network = {"kind": "mlp", "initialization": {"kind": "constant"}}
    chosen = spec(batch_size=16, network=network, inspection={"lint": "refuse"})
    events: list[Event] = []

    with pytest.raises(LintRefused, match="hidden1"):
        events.extend(train(chosen, TINY, device=torch.device("cpu")))

    assert not any(isinstance(event, StepsFinished) for event in events)


def test_lint_can_be_turned_off() -> None:
    assert lints(network={"kind": "mlp", "initialization": {"kind": "constant"}}, inspection={"lint": "off"}) == []


@pytest.mark.parametrize(
    "example",
    sorted(
        path.name
        for path in EXAMPLES.glob("*.yaml")
        if path.name not in ("activation-statistics.yaml", "constant-initialization.yaml")
    ),
)
def test_the_examples_start_well(example: str) -> None:
    chosen = document.read(EXAMPLES / example).spec().model_copy(update={"devices": 1})
    events = train(chosen, data.load(chosen.dataset), device=torch.device("cpu"))
    first = takewhile(lambda event: not isinstance(event, StepsFinished), events)

    assert [event for event in first if isinstance(event, LintFound)] == []
