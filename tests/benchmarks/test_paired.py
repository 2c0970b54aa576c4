"""Means, deviations and paired intervals of the benchmark of techniques."""

from math import atan, cos, pi, prod, sin, sqrt

import pytest

from benchmarks.paired import STUDENT_T, Difference, paired_difference, spread


def two_sided(t: float, degrees: int) -> float:
    """P(|T| <= t) in closed form: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4."""
    angle = atan(t / sqrt(degrees))
    odd = degrees % 2
    # Each term is the one before times cos² and (1 to 2, 3 to 4, …) or, for odd degrees, (2 to 3, 4 to 5, …).
    terms = range((degrees - odd) // 2)
    total = sum(prod((2 * i - 1 + odd) / (2 * i + odd) for i in range(1, k + 1)) * cos(angle) ** (2 * k) for k in terms)
    return 2 / pi * (angle + sin(angle) * cos(angle) * total) if odd else sin(angle) * total


@pytest.mark.parametrize("degrees", range(1, 31))
def test_t_is_what_leaves_one_in_twenty_out(degrees: int) -> None:
    t = STUDENT_T[degrees - 1]

    assert two_sided(t - 0.00006, degrees) < 0.95 < two_sided(t + 0.00006, degrees)


def test_a_spread_is_the_mean_and_the_sample_deviation() -> None:
    found = spread([2.0, 4.0, 4.0, 6.0])

    assert (found.mean, found.count) == (4.0, 4)
    assert found.deviation == pytest.approx(sqrt(8 / 3))


def test_a_single_value_has_no_deviation() -> None:
    assert spread([3.0]).deviation is None


def test_a_paired_interval_is_the_one_worked_out_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, standard deviation 1, t of two degrees of freedom 4.3027.
    found = paired_difference([11.0, 22.0, 33.0], [10.0, 20.0, 30.0])

    assert found.mean == pytest.approx(2)
    assert found.low == pytest.approx(2 - 4.3027 / sqrt(3))
    assert found.high == pytest.approx(2 + 4.3027 / sqrt(3))


def test_what_all_seeds_share_does_not_widen_the_interval() -> None:
    found = paired_difference([1.5, 101.5, 51.5], [1.0, 101.0, 51.0])

    assert (found.low, found.high) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("low", "high", "effect"), [(-2, -1, "better"), (1, 2, "worse"), (-1, 1, "nil"), (0, 1, "nil"), (-1, 0, "nil")]
)
def test_an_effect_is_nil_where_the_interval_contains_zero(low: float, high: float, effect: str) -> None:
    assert Difference((low + high) / 2, low, high).effect == effect


@pytest.mark.parametrize("pairs", [1, 32])
def test_too_few_or_too_many_pairs_are_refused(pairs: int) -> None:
    with pytest.raises(ValueError, match="2 to 31 pairs"):
        paired_difference([1.0] * pairs, [0.0] * pairs)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([1.0, 2.0], [1.0])
