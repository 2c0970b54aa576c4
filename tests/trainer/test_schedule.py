"""Learning rates: hand-worked values, then what holds everywhere."""

import json
from math import cos, exp, nextafter, pi
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.specs import document
from trainer.parsing import parse
from trainer.schedule import boundary_rates, learning_rate, snapshot_epochs
from trainer.spec import Schedule


def schedule(kind: str, **settings: Any) -> Schedule:
    part = {"kind": kind, "learning_rate": 0.8, **settings}
    return parse(json.dumps(document(schedule=part))).schedule


EPOCHS = 12

ALL = [
    schedule("constant"),
    schedule("step", every=4, factor=0.5),
    schedule("exponential", k=0.2),
    schedule("inverse_time", k=0.5),
    schedule("cosine", minimum=0.1),
    schedule("snapshot_cycles", cycles=3),
]


@pytest.mark.parametrize(
    ("kind", "settings", "values"),
    [
        ("constant", {}, {0: 0.8, 6: 0.8, 12: 0.8}),
        ("step", {"every": 4, "factor": 0.5}, {0: 0.8, 3.99: 0.8, 4: 0.4, 8: 0.2, 11.9: 0.2}),
        ("exponential", {"k": 0.2}, {0: 0.8, 5: 0.8 * exp(-1), 12: 0.8 * exp(-2.4)}),
        ("inverse_time", {"k": 0.5}, {0: 0.8, 2: 0.4, 6: 0.2, 12: 0.8 / 7}),
        ("cosine", {"minimum": 0.1}, {0: 0.8, 6: 0.45, 12: 0.1}),
        ("snapshot_cycles", {"cycles": 3}, {0: 0.8, 2: 0.4, 4: 0.8, 6: 0.4, 8: 0.8, 1: 0.4 * (cos(pi / 4) + 1)}),
    ],
)
def test_rates_are_those_worked_out_by_hand(kind: str, settings: dict[str, Any], values: dict[float, float]) -> None:
    for moment, rate in values.items():
        assert learning_rate(schedule(kind, **settings), moment, EPOCHS) == pytest.approx(rate), moment


def test_a_cycle_ends_at_zero() -> None:
    cycles = schedule("snapshot_cycles", cycles=3)

    for boundary in (4, 8, 12):
        assert learning_rate(cycles, nextafter(boundary, 0), EPOCHS) == pytest.approx(0, abs=1e-12)


@given(st.sampled_from(ALL), st.floats(0, EPOCHS))
def test_rates_are_never_negative_and_never_above_the_start(chosen: Schedule, moment: float) -> None:
    assert 0 <= learning_rate(chosen, moment, EPOCHS) <= chosen.learning_rate


@given(st.sampled_from(ALL), st.floats(0, EPOCHS - 1e-6))
def test_rates_fall_smoothly_except_where_the_rule_jumps(chosen: Schedule, moment: float) -> None:
    before, after = (learning_rate(chosen, t, EPOCHS) for t in (moment, moment + 1e-7))
    jumps = chosen.kind in ("step", "snapshot_cycles") and moment % 4 > 4 - 2e-7

    assert jumps or 0 <= before - after < 1e-6


@given(st.integers(1, 12), st.integers(1, 50), st.integers(1, 100))
def test_every_cycle_begins_at_the_start_rate_exactly(cycles: int, length: int, steps: int) -> None:
    chosen = schedule("snapshot_cycles", cycles=cycles)
    epochs = cycles * length

    for cycle in range(cycles):
        assert learning_rate(chosen, cycle * length + 0 / steps, epochs) == chosen.learning_rate


@given(st.integers(1, 12), st.integers(1, 12))
def test_snapshots_are_taken_at_the_minima_of_the_rate(cycles: int, length: int) -> None:
    chosen = schedule("snapshot_cycles", cycles=cycles)
    epochs = cycles * length
    ends = [learning_rate(chosen, nextafter(epoch, 0), epochs) for epoch in range(1, epochs + 1)]

    lowest = tuple(epoch for epoch, rate in enumerate(ends, start=1) if rate < 1e-9)
    assert snapshot_epochs(chosen, epochs) == lowest


@pytest.mark.parametrize("chosen", [one for one in ALL if one.kind != "snapshot_cycles"])
def test_other_schedules_take_one_snapshot_at_the_end(chosen: Schedule) -> None:
    assert snapshot_epochs(chosen, EPOCHS) == (EPOCHS,)


def test_boundary_rates_begin_each_epoch_and_end_where_the_training_ends() -> None:
    rates = boundary_rates(schedule("snapshot_cycles", cycles=3), EPOCHS)

    assert len(rates) == EPOCHS + 1
    assert rates[0] == rates[4] == rates[8] == 0.8
    assert rates[-1] == pytest.approx(0, abs=1e-12)
