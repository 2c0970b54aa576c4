"""Warm-up, cycles and decays within the training."""

import pytest

from tests.trainer.validation.plans import alone, codes, cycles, only, plan, pruned


def test_epochs_must_divide_into_cycles() -> None:
    mistake = only(epochs=20, schedule=cycles(3))

    assert (mistake.pointer, mistake.code) == ("/schedule/cycles", "not_divisible")
    assert "use 2 or 4 cycles, or 21 epochs" in mistake.detail


def test_a_cosine_that_rises_is_refused() -> None:
    schedule = {"kind": "cosine", "learning_rate": 0.1, "minimum": 0.2}

    assert only(schedule=schedule, ensemble={"kind": "none"}).pointer == "/schedule/minimum"


@pytest.mark.parametrize(
    ("changes", "place", "code"),
    [
        (alone("linear", minimum=0.1), "/schedule/minimum", "above_learning_rate"),
        (alone("polynomial", minimum=0.1), "/schedule/minimum", "above_learning_rate"),
        (alone("cosine_restarts", first=5, minimum=0.1), "/schedule/minimum", "above_learning_rate"),
        (alone("plateau", minimum=0.1), "/schedule/minimum", "above_learning_rate"),
        (alone("triangular", maximum=0.01, half=2), "/schedule/maximum", "below_learning_rate"),
        (alone("one_cycle", maximum=0.01), "/schedule/maximum", "below_learning_rate"),
        (alone("one_cycle", maximum=0.1, minimum=0.2), "/schedule/minimum", "above_maximum"),
        (alone("multistep", after=[5, 15, 10]), "/schedule/after/2", "not_ascending"),
        (alone("multistep", after=[5, 5]), "/schedule/after/1", "not_ascending"),
        (alone("cosine_restarts", first=21), "/schedule/first", "longer_than_training"),
        (alone("constant", warmup={"epochs": 20}), "/schedule/warmup/epochs", "longer_than_training"),
        (alone("snapshot_cycles", cycles=2, warmup={"epochs": 30}), "/schedule/warmup/epochs", "longer_than_training"),
        (alone("snapshot_cycles", cycles=3, warmup={"epochs": 1.5}), "/schedule/warmup/epochs", "not_whole"),
        (alone("cosine_restarts", first=5, warmup={"epochs": 0.5}), "/schedule/warmup/epochs", "not_whole"),
        (alone("cosine_restarts", first=18, warmup={"epochs": 3}), "/schedule/first", "longer_than_training"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(changes: dict[str, object], place: str, code: str) -> None:
    mistake = only(**changes)

    assert (mistake.pointer, mistake.code) == (place, code)


def test_cycles_divide_what_the_warm_up_leaves() -> None:
    warm = {"epochs": 2}
    mistake = only(epochs=20, schedule=cycles(4) | {"warmup": warm})

    assert "18 epochs after 2 of warm-up cannot be divided into 4 equal cycles; use 3 or 6 cycles" in mistake.detail
    assert "or 18 epochs." in mistake.detail
    assert plan(epochs=18, schedule=cycles(4) | {"warmup": warm}).snapshot_epochs == (6, 10, 14, 18)


@pytest.mark.parametrize(
    "changes",
    [
        alone("linear"),
        alone("cosine") | {"epochs": 1},
        alone("cosine_restarts", first=1),
        alone("one_cycle", maximum=0.1),
        alone("triangular", maximum=0.1, half=2.5),
        alone("exponential", k=0.5),
        alone("constant", warmup={"epochs": 10}),
        alone("constant", warmup={"epochs": 1, "start": 0.1}, clock="epoch"),
        alone("constant") | {"optimizer": {"kind": "adamw"}},
    ],
)
def test_a_usual_schedule_has_no_warnings(changes: dict[str, object]) -> None:
    assert codes(**changes) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"schedule": {"kind": "step", "learning_rate": 0.1, "every": 20}, "ensemble": {"kind": "none"}},
            ("/schedule/every", "never_decays"),
        ),
        (alone("multistep", after=[5, 20]), ("/schedule/after/1", "never_decays")),
        (alone("step", every=15, warmup={"epochs": 5}), ("/schedule/every", "never_decays")),
        (alone("plateau", patience=20), ("/schedule/patience", "never_decays")),
        (alone("triangular", maximum=0.1, half=21), ("/schedule/half", "never_peaks")),
        (alone("cosine_restarts", first=6), ("/epochs", "unfinished_cycle")),
        (alone("constant", warmup={"epochs": 11}), ("/schedule/warmup/epochs", "long_warmup")),
        (alone("constant", warmup={"epochs": 1}, clock="epoch"), ("/schedule/warmup/start", "idle_epoch")),
        (alone("exponential", k=0.8), ("/schedule", "vanishing_rate")),
        (alone("multistep", after=[3, 6, 9], factor=0.05), ("/schedule", "vanishing_rate")),
        (alone("polynomial", power=15.0), ("/schedule", "vanishing_rate")),
        (
            {
                "schedule": {"kind": "step", "learning_rate": 0.1, "every": 10},
                "ensemble": {"kind": "none"},
                "pruning": pruned(1),
            },
            ("/schedule/every", "never_decays"),
        ),
    ],
)
def test_a_schedule_that_trains_little_is_warned_of(changes: dict[str, object], expected: tuple[str, str]) -> None:
    assert codes(**changes) == [expected]
