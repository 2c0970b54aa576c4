"""Learning rates: hand-worked values, then what holds everywhere."""

import json
from math import cos, exp, nextafter, pi
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.specs import document
from trainer.parsing import parse
from trainer.schedule import (
    Observed,
    boundary_rates,
    cycle_ends,
    learning_rate,
    observe,
    peak,
    snapshot_epochs,
)
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
    schedule("multistep", after=[4, 8], factor=0.5),
    schedule("polynomial", power=2.0, minimum=0.1),
    schedule("polynomial", power=0.5),
    schedule("linear", minimum=0.1),
    schedule("cosine_restarts", first=4, minimum=0.1),
    schedule("cosine_restarts", first=4, factor=2),
    schedule("triangular", maximum=1.6, half=2),
    schedule("one_cycle", maximum=1.6, rise=0.25, minimum=0.1),
    schedule("plateau"),
]
JUMPS = ("step", "multistep", "snapshot_cycles", "cosine_restarts")
"""These jump, and in `ALL` only at multiples of four epochs."""

WARM = {"epochs": 4, "start": 0.25}


def warm(chosen: Schedule, **warmup: Any) -> Schedule:
    """The same schedule after a warm-up."""
    part = chosen.model_dump(mode="json") | {"warmup": WARM | warmup}
    return parse(json.dumps(document(schedule=part))).schedule


def by_epoch(chosen: Schedule) -> Schedule:
    return chosen.model_copy(update={"clock": "epoch"})


@pytest.mark.parametrize(
    ("kind", "settings", "values"),
    [
        ("constant", {}, {0: 0.8, 6: 0.8, 12: 0.8}),
        ("step", {"every": 4, "factor": 0.5}, {0: 0.8, 3.99: 0.8, 4: 0.4, 8: 0.2, 11.9: 0.2}),
        ("exponential", {"k": 0.2}, {0: 0.8, 5: 0.8 * exp(-1), 12: 0.8 * exp(-2.4)}),
        ("inverse_time", {"k": 0.5}, {0: 0.8, 2: 0.4, 6: 0.2, 12: 0.8 / 7}),
        ("cosine", {"minimum": 0.1}, {0: 0.8, 6: 0.45, 12: 0.1}),
        ("snapshot_cycles", {"cycles": 3}, {0: 0.8, 2: 0.4, 4: 0.8, 6: 0.4, 8: 0.8, 1: 0.4 * (cos(pi / 4) + 1)}),
        ("multistep", {"after": [4, 9], "factor": 0.5}, {0: 0.8, 3.99: 0.8, 4: 0.4, 8.99: 0.4, 9: 0.2, 12: 0.2}),
        ("polynomial", {}, {0: 0.8, 3: 0.45, 6: 0.2, 12: 0}),
        ("polynomial", {"power": 3.0, "minimum": 0.16}, {0: 0.8, 6: 0.24, 9: 0.17, 12: 0.16}),
        ("linear", {}, {0: 0.8, 3: 0.6, 6: 0.4, 12: 0}),
        ("linear", {"minimum": 0.2}, {0: 0.8, 6: 0.5, 12: 0.2}),
        ("cosine_restarts", {"first": 4, "minimum": 0.1}, {0: 0.8, 2: 0.45, 3.9999: 0.1, 4: 0.8, 6: 0.45, 8: 0.8}),
        (
            "cosine_restarts",
            {"first": 4, "factor": 2},
            {0: 0.8, 2: 0.4, 3.9999: 0, 4: 0.8, 6: 0.4 * (cos(pi / 4) + 1), 8: 0.4, 11.9999: 0, 12: 0.8},
        ),
        (
            "triangular",
            {"maximum": 1.6, "half": 2},
            {0: 0.8, 1: 1.2, 2: 1.6, 3: 1.2, 4: 0.8, 6: 1.6, 11.5: 1.0, 12: 0.8},
        ),
        ("triangular", {"maximum": 1.6, "half": 0.5}, {0.25: 1.2, 0.5: 1.6, 0.75: 1.2, 1: 0.8}),
        (
            "one_cycle",
            {"maximum": 1.6, "rise": 0.25, "minimum": 0.1},
            {0: 0.8, 1.5: 1.2, 3: 1.6, 7.5: 0.85, 12: 0.1, 1: 0.8 + 0.4 * (1 - cos(pi / 3))},
        ),
        ("plateau", {}, {0: 0.8, 6: 0.8, 12: 0.8}),
    ],
)
def test_rates_are_those_worked_out_by_hand(kind: str, settings: dict[str, Any], values: dict[float, float]) -> None:
    for moment, rate in values.items():
        found = learning_rate(schedule(kind, **settings), moment, EPOCHS)
        assert found == pytest.approx(rate, abs=1e-7), moment


def test_a_cycle_ends_at_zero() -> None:
    cycles = schedule("snapshot_cycles", cycles=3)

    for boundary in (4, 8, 12):
        assert learning_rate(cycles, nextafter(boundary, 0), EPOCHS) == pytest.approx(0, abs=1e-12)


WARMED = [warm(chosen) for chosen in ALL]
ANY = st.sampled_from([*ALL, *WARMED, *map(by_epoch, ALL), *map(by_epoch, WARMED)])


@given(ANY, st.floats(0, EPOCHS))
def test_rates_are_never_negative_and_never_above_the_peak(chosen: Schedule, moment: float) -> None:
    assert 0 <= learning_rate(chosen, moment, EPOCHS) <= peak(chosen) * (1 + 1e-12)


@given(st.sampled_from([*ALL, *WARMED]), st.floats(0, EPOCHS - 1e-6))
def test_rates_are_continuous_except_where_the_rule_jumps(chosen: Schedule, moment: float) -> None:
    before, after = (learning_rate(chosen, t, EPOCHS) for t in (moment, moment + 1e-7))
    jumps = chosen.kind in JUMPS and moment % 4 > 4 - 2e-7
    # The root has an infinite slope at its end.
    slope = 1e-6 if not (chosen.kind == "polynomial" and moment > EPOCHS - 0.01) else 1e-3

    assert jumps or abs(before - after) < slope


@given(
    st.sampled_from([one for one in ALL if one.kind not in ("triangular", "one_cycle")]), st.floats(0, EPOCHS - 1e-6)
)
def test_rates_fall_or_stay_but_at_a_restart(chosen: Schedule, moment: float) -> None:
    before, after = (learning_rate(chosen, t, EPOCHS) for t in (moment, moment + 1e-7))
    restarts = chosen.kind in ("snapshot_cycles", "cosine_restarts") and moment % 4 > 4 - 2e-7

    assert restarts or after <= before * (1 + 1e-12)


@given(st.sampled_from(WARMED))
def test_a_warm_up_rises_linearly_to_the_start_rate(chosen: Schedule) -> None:
    values = {0: 0.2, 2: 0.5, 3: 0.65, nextafter(4, 0): 0.8}

    for moment, rate in values.items():
        assert learning_rate(chosen, moment, EPOCHS) == pytest.approx(rate)


@given(st.sampled_from(ALL), st.floats(0, EPOCHS))
def test_after_the_warm_up_the_schedule_runs_as_if_the_training_began_then(chosen: Schedule, moment: float) -> None:
    longer = EPOCHS + WARM["epochs"]

    rate = learning_rate(warm(chosen), moment + WARM["epochs"], longer)

    assert rate == learning_rate(chosen, moment + WARM["epochs"] - WARM["epochs"], EPOCHS)


@given(st.sampled_from([*ALL, *WARMED]), st.floats(0, EPOCHS, exclude_max=True))
def test_by_the_clock_of_epochs_the_rate_stays_as_the_epoch_began(chosen: Schedule, moment: float) -> None:
    assert learning_rate(by_epoch(chosen), moment, EPOCHS) == learning_rate(chosen, int(moment), EPOCHS)


def test_a_warm_up_may_end_inside_an_epoch() -> None:
    chosen = warm(schedule("linear"), epochs=0.5, start=0.0)

    rates = {moment: learning_rate(chosen, moment, 2) for moment in (0, 0.25, 0.5, 1.25, 2)}
    assert rates == pytest.approx({0: 0.0, 0.25: 0.4, 0.5: 0.8, 1.25: 0.4, 2: 0.0})


def test_one_cycle_is_that_of_torch_where_steps_are_many() -> None:
    steps, peak_rate = 1000, 1.6
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak_rate, steps, pct_start=0.25, div_factor=2, final_div_factor=8, cycle_momentum=False
    )
    chosen = schedule("one_cycle", maximum=peak_rate, rise=0.25, minimum=0.1)
    for step in range(steps):
        assert reference.get_last_lr()[0] == pytest.approx(learning_rate(chosen, step / steps, 1), abs=1e-2)
        optimizer.step()
        reference.step()


@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 60))
def test_restarts_are_those_of_torch(first: int, factor: int, epochs: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.8)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, first, factor, eta_min=0.1)
    chosen = schedule("cosine_restarts", first=first, factor=factor, minimum=0.1)
    for epoch in range(epochs):
        assert learning_rate(chosen, epoch, epochs) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()


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


@given(st.integers(1, 4), st.integers(1, 3), st.integers(4, 60), st.integers(0, 3))
def test_snapshots_of_restarts_are_taken_at_the_minima_and_at_the_end(
    first: int, factor: int, epochs: int, before: int
) -> None:
    chosen = schedule("cosine_restarts", first=first, factor=factor)
    chosen = warm(chosen, epochs=before) if before else chosen
    ends = [learning_rate(chosen, nextafter(epoch, 0), epochs) for epoch in range(1, epochs + 1)]

    lowest = {epoch for epoch, rate in enumerate(ends, start=1) if rate < 1e-9}
    assert set(cycle_ends(chosen, epochs)) == lowest
    assert snapshot_epochs(chosen, epochs) == tuple(sorted(lowest | {epochs}))


def test_snapshots_come_at_the_ends_of_the_cycles_after_the_warm_up() -> None:
    assert snapshot_epochs(warm(schedule("snapshot_cycles", cycles=4)), EPOCHS) == (6, 8, 10, 12)


@pytest.mark.parametrize("chosen", [one for one in ALL if one.kind not in ("snapshot_cycles", "cosine_restarts")])
def test_other_schedules_take_one_snapshot_at_the_end(chosen: Schedule) -> None:
    assert snapshot_epochs(chosen, EPOCHS) == (EPOCHS,)


def seen(losses: list[float], **settings: Any) -> list[float]:
    """The rate after each epoch that ended with one of `losses`."""
    chosen = schedule("plateau", **{"factor": 0.5, "threshold": 0.0, **settings})
    observed, rates = Observed(), []
    for epoch, loss in enumerate(losses, start=1):
        observed = observe(chosen, observed, epoch, loss)
        rates.append(learning_rate(chosen, epoch, len(losses), observed.reductions))
    return rates


def test_a_plateau_halves_the_rate_after_so_many_epochs_without_improvement() -> None:
    assert seen([1.0, 1.1, 1.0, 0.9, 0.95, 0.95, 0.95, 0.95], patience=2) == [0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2, 0.1]


def test_a_plateau_counts_anew_after_an_improvement() -> None:
    assert seen([1.0, 1.1, 0.9, 1.1, 0.8, 1.1], patience=2) == [0.8] * 6


def test_an_improvement_smaller_than_the_threshold_is_none() -> None:
    losses = [1.0, 0.95, 0.89, 0.85]

    assert seen(losses, patience=1, threshold=0.1) == [0.8, 0.4, 0.4, 0.2]


def test_a_plateau_never_falls_below_its_minimum() -> None:
    assert seen([1.0] * 5, patience=1, minimum=0.3) == [0.8, 0.4, 0.3, 0.3, 0.3]


def test_a_plateau_does_not_look_at_the_warm_up() -> None:
    chosen = warm(schedule("plateau", patience=1), epochs=1.5)

    observed = Observed()
    for epoch, loss in enumerate([0.1, 0.2, 5.0], start=1):
        observed = observe(chosen, observed, epoch, loss)

    assert observed == Observed(best=5.0)


@given(st.lists(st.floats(0, 10), max_size=40), st.integers(1, 5))
def test_a_plateau_is_that_of_torch_with_one_epoch_more_of_patience(losses: list[float], patience: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.8)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience - 1)
    rates = []
    for loss in losses:
        reference.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])

    # torch skips reductions that are too small to matter.
    expected = [rate for rate in rates if rate > 1e-7]
    assert seen(losses, patience=patience, threshold=1e-4)[: len(expected)] == pytest.approx(expected)


@pytest.mark.parametrize("chosen", [one for one in ALL if one.kind != "plateau"])
def test_only_a_plateau_depends_on_what_is_measured(chosen: Schedule) -> None:
    assert observe(chosen, Observed(), 1, 0.5) == Observed()
    assert learning_rate(chosen, 5, EPOCHS, reductions=3) == learning_rate(chosen, 5, EPOCHS)


def test_boundary_rates_begin_each_epoch_and_end_where_the_training_ends() -> None:
    rates = boundary_rates(schedule("snapshot_cycles", cycles=3), EPOCHS)

    assert len(rates) == EPOCHS + 1
    assert rates[0] == rates[4] == rates[8] == 0.8
    assert rates[-1] == pytest.approx(0, abs=1e-12)
