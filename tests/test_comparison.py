"""Trainings side by side: differences of specs, repetitions, intervals."""

from statistics import NormalDist, mean, stdev
from typing import Any

import pytest

from app.comparison import alike_but_for_seed, differences, mean_interval, student
from tests.specs import spec


def resolved(**changes: Any) -> dict[str, Any]:
    return spec(**changes).model_dump(mode="json")


def test_specs_differ_where_values_do_and_not_in_what_concerns_the_service() -> None:
    first = resolved(name="a", priority=1, labels={"x": "y"}, epochs=4)
    second = resolved(name="b", epochs=6, augmentation=[{"kind": "random_crop", "padding": 2}])

    found = {one.pointer: one.values for one in differences([first, second, first])}

    assert found == {
        "/epochs": (4, 6, 4),
        "/augmentation": ([], None, []),
        "/augmentation/0/kind": (None, "random_crop", None),
        "/augmentation/0/padding": (None, 2, None),
    }


def test_the_same_spec_has_no_differences() -> None:
    assert differences([resolved(), resolved(name="other")]) == []


def test_repetitions_differ_in_their_seed_alone_and_no_seed_comes_twice() -> None:
    specs = [
        resolved(seed=1),
        resolved(seed=2, epochs=6),
        resolved(seed=3, name="c"),
        resolved(seed=1),
        resolved(seed=4),
    ]

    assert alike_but_for_seed(specs) == [[0, 2, 4]]


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (10, 2.2281), (30, 2.0423)],
)
def test_students_t_is_that_of_the_tables(freedom: int, expected: float) -> None:
    assert student(0.95, freedom) == pytest.approx(expected, abs=5e-5)


def test_students_t_is_normal_in_the_end() -> None:
    assert student(0.95, 20_000) == pytest.approx(NormalDist().inv_cdf(0.975), abs=2e-4)


def test_an_interval_is_the_mean_and_t_times_its_standard_error() -> None:
    values = [0.1, 0.13, 0.09, 0.12, 0.11]

    found = mean_interval(values)

    half = 2.7764 * stdev(values) / 5**0.5
    assert (found.count, found.mean) == (5, pytest.approx(mean(values)))
    assert found.std == pytest.approx(stdev(values))
    assert (found.low, found.high) == (
        pytest.approx(found.mean - half, rel=1e-4),
        pytest.approx(found.mean + half, rel=1e-4),
    )
