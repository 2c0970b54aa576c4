"""Snapshots, members and averages."""

import pytest

from tests.trainer.validation.plans import alone, codes, flat, only, plan


def restarts(first: int, factor: int = 1) -> dict[str, object]:
    return {"kind": "cosine_restarts", "learning_rate": 0.05, "first": first, "factor": factor}


def test_more_snapshots_than_cycles_are_refused() -> None:
    assert only(ensemble={"kind": "snapshots", "last": 3}).pointer == "/ensemble/last"


def test_averages_that_would_not_come_are_refused() -> None:
    late, never = only(**flat({"kind": "swa", "start": 10})), only(**flat({"kind": "swa", "start": 4, "every": 7}))

    assert (late.pointer, late.code) == ("/ensemble/start", "too_late")
    assert (never.pointer, never.code) == ("/ensemble/every", "never_comes")
    assert "use at most 6" in never.detail
    assert plan(**flat({"kind": "swa", "start": 4, "every": 6})).snapshot_epochs == (10,)


@pytest.mark.parametrize(
    ("ensemble", "pointer"),
    [
        ({"kind": "independent", "members": 1}, "/ensemble/members"),
        ({"kind": "ema", "decay": 0.0}, "/ensemble/decay"),
        ({"kind": "ema", "decay": 1.0}, "/ensemble/decay"),
        ({"kind": "swa", "start": 0}, "/ensemble/start"),
    ],
)
def test_ensembles_out_of_bounds_are_refused(ensemble: dict[str, object], pointer: str) -> None:
    assert only(**flat(ensemble)).pointer == pointer


def test_a_snapshot_ensemble_needs_cycles() -> None:
    mistake = only(schedule={"kind": "constant", "learning_rate": 0.1})

    assert mistake.pointer == "/ensemble/kind"
    assert "snapshot_cycles" in mistake.detail


def test_restarts_give_snapshots_to_an_ensemble() -> None:
    found = plan(epochs=14, schedule=restarts(2, 2), ensemble={"kind": "snapshots", "last": 3})

    assert found.snapshot_epochs == (2, 6, 14)
    assert found.warnings == ()


def test_more_snapshots_than_restarts_are_refused() -> None:
    assert (
        only(epochs=6, schedule=restarts(2, 2), ensemble={"kind": "snapshots", "last": 3}).pointer == "/ensemble/last"
    )


def test_an_ensemble_that_would_end_inside_a_cycle_is_refused_with_the_epochs_that_fit() -> None:
    mistake = only(epochs=10, schedule=restarts(2, 2))

    assert (mistake.pointer, mistake.code) == ("/epochs", "unfinished_cycle")
    assert "use 6 or 14 epochs" in mistake.detail


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ensemble": {"kind": "none"}}, ("/ensemble", "unused_snapshots")),
        (
            alone("multistep", after=[11], factor=0.0005) | {"ensemble": {"kind": "swa", "start": 11}},
            ("/ensemble/start", "nearly_equal_weights"),
        ),
        (alone("constant") | {"ensemble": {"kind": "ema", "decay": 0.9999}}, ("/ensemble/decay", "remembers_start")),
        ({"ensemble": {"kind": "independent", "members": 2}}, ("/ensemble", "unused_snapshots")),
        ({"epochs": 18}, ("/schedule/cycles", "short_cycles")),
    ],
)
def test_an_ensemble_that_says_little_is_warned_of(changes: dict[str, object], expected: tuple[str, str]) -> None:
    assert codes(**changes) == [expected]
