"""Specs and data sets to check, and what is said of them."""

import json

import pytest

from tests.specs import document
from trainer import data
from trainer.data import DataFacts
from trainer.errors import Mistake, SpecInvalid
from trainer.parsing import parse
from trainer.plan import Plan, check

FACTS = data.load("mnist5k").facts
CONVOLUTION = {"kind": "convolution", "channels": 8, "padding": 1}
RELU = {"kind": "activation"}
FLATTEN = {"kind": "flatten"}


def plan(facts: DataFacts = FACTS, **changes: object) -> Plan:
    # Long enough for nothing to be said of the epochs.
    return check(parse(json.dumps(document(**{"epochs": 20} | changes))), facts)


def only(facts: DataFacts = FACTS, **changes: object) -> Mistake:
    with pytest.raises(SpecInvalid) as caught:
        plan(facts, **changes)
    (mistake,) = caught.value.mistakes
    return mistake


def codes(**changes: object) -> list[tuple[str, str]]:
    return [(warning.pointer, warning.code) for warning in plan(**changes).warnings]


def cycles(count: int) -> dict[str, object]:
    return {"kind": "snapshot_cycles", "learning_rate": 0.1, "cycles": count}


def alone(kind: str, **settings: object) -> dict[str, object]:
    """A schedule with no ensemble, in 20 epochs."""
    return {
        "schedule": {"kind": kind, "learning_rate": 0.05, **settings},
        "ensemble": {"kind": "none"},
        "epochs": 20,
    }


def flat(ensemble: dict[str, object], **changes: object) -> dict[str, object]:
    """At a constant rate for ten epochs."""
    return {"schedule": {"kind": "constant", "learning_rate": 0.1}, "epochs": 10, "ensemble": ensemble, **changes}


def pruned(rounds: int, **settings: object) -> dict[str, object]:
    return {"kind": "lottery_ticket", "rounds": rounds, **settings}


def residual(*branch: object, **parts: object) -> dict[str, object]:
    return {"kind": "residual", "branch": list(branch), **parts}
