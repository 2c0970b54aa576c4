"""The curve of a preview: it shows what happens between two epochs, and all of it is what training uses."""

from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.trainer.test_schedule import ALL, WARMED, by_epoch, schedule, warm
from trainer.curve import A_HAIR, MOST_TURNS, Point, of_trainings
from trainer.schedule import learning_rate
from trainer.spec import Schedule

EVERY = [*ALL, *WARMED, *map(by_epoch, ALL)]


def rates(kind: str, epochs: int, **settings: Any) -> dict[float, float]:
    return {point.epoch: point.rate for point in of_trainings(schedule(kind, **settings), epochs, 1)}


def around(points: list[Point], moment: float) -> tuple[Point, Point]:
    """The points between which `moment` lies."""
    after = next(index for index, point in enumerate(points) if point.epoch > moment)
    return points[after - 1], points[after]


def straight(points: list[Point], moment: float) -> float:
    """The rate on the line between the points around `moment`."""
    left, right = around(points, moment)
    share = (moment - left.epoch) / (right.epoch - left.epoch)
    return left.rate + share * (right.rate - left.rate)


def test_the_peak_inside_a_single_epoch_is_shown() -> None:
    found = rates("one_cycle", 1, maximum=1.6, rise=0.25)

    assert found[0.25] == 1.6
    assert max(found.values()) == 1.6


def test_every_peak_and_valley_of_a_triangle_is_shown() -> None:
    found = rates("triangular", 3, maximum=1.6, half=0.375)

    assert [found[turn] for turn in (0.375, 0.75, 1.5, 1.875, 2.625)] == pytest.approx([1.6, 0.8, 0.8, 1.6, 1.6])


def test_both_sides_of_each_cycle_end_are_shown() -> None:
    found = rates("snapshot_cycles", 3, cycles=3)

    for end in (1, 2):
        assert found[end - A_HAIR] == pytest.approx(0, abs=1e-12)
        assert found[end] == 0.8
    assert found[3 - A_HAIR] == pytest.approx(0, abs=1e-12)


def test_the_end_of_a_warm_up_inside_an_epoch_is_shown() -> None:
    found = rates("linear", 2, warmup={"epochs": 0.37})

    assert (found[0], found[0.37]) == (0.0, 0.8)


def test_decays_jump_between_two_points() -> None:
    steps, listed = rates("step", 8, every=3, factor=0.5), rates("multistep", 8, after=[1, 7], factor=0.5)

    assert [(steps[end - A_HAIR], steps[end]) for end in (3, 6)] == [(0.8, 0.4), (0.4, 0.2)]
    assert [(listed[end - A_HAIR], listed[end]) for end in (1, 7)] == [(0.8, 0.4), (0.4, 0.2)]


@given(st.sampled_from(EVERY), st.floats(0, 12, exclude_max=True))
@example(schedule("polynomial"), 11.985)
def test_the_line_through_the_points_is_the_rate_in_between(chosen: Schedule, moment: float) -> None:
    points = list(of_trainings(chosen, 12, 1))
    inside = min(moment, points[-1].epoch - A_HAIR)
    left, right = around(points, inside)
    # What lies between a point and the one a hair before it is a jump.
    assume(right.epoch - left.epoch > 2 * A_HAIR)

    # A root falls steeply at its end.
    tolerance = 0.2 if chosen.kind == "polynomial" and inside > 11.9 else 0.01
    assert straight(points, inside) == pytest.approx(learning_rate(chosen, inside, 12), abs=tolerance)


@pytest.mark.parametrize("chosen", EVERY)
def test_points_come_in_order_and_end_where_the_training_ends(chosen: Schedule) -> None:
    points = of_trainings(chosen, 12, 1)

    assert 200 <= len(points) <= 240
    assert [point.epoch for point in points] == sorted({point.epoch for point in points})
    assert (points[0].epoch, points[-1].epoch) == (0, 12 - A_HAIR)


def test_trainings_follow_one_another() -> None:
    once, twice = (of_trainings(warm(schedule("linear")), 6, count) for count in (1, 2))

    assert {point.epoch for point in twice} >= {0, 4, 6, 10}
    assert {point.epoch: point.rate for point in twice}[10] == {point.epoch: point.rate for point in once}[4]
    assert twice[-1].epoch < 12
    assert len(twice) < len(once) + 20


def test_both_sides_of_a_cycle_end_are_told_apart_after_many_trainings() -> None:
    points = of_trainings(schedule("snapshot_cycles", cycles=2), 198, 50)

    moments = [point.epoch for point in points]
    assert moments == sorted(set(moments))
    assert {point.rate for point in points if point.epoch in (9702, 9801)} == {0.8}


@pytest.mark.parametrize(
    "chosen",
    [
        schedule("triangular", maximum=1.6, half=1e-300),
        schedule("cosine_restarts", first=1),
        by_epoch(schedule("linear")),
    ],
)
def test_ten_thousand_epochs_of_turns_are_thinned(chosen: Schedule) -> None:
    assert len(of_trainings(chosen, 10_000, 1)) <= 2 * MOST_TURNS + 210
