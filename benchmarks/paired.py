"""Means, standard deviations, and differences between two treatments that were given the same seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap
from math import sqrt
from operator import sub
from statistics import fmean, stdev
from typing import Literal

STUDENT_T = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)
"""What the absolute value of Student's t exceeds with probability 0.05, for 1 to 30 degrees of freedom: the closed form
of Abramowitz and Stegun 1964, 26.7.3 and 26.7.4, solved and rounded to four decimals."""

MOST_PAIRS = len(STUDENT_T) + 1

Effect = Literal["better", "nil", "worse"]


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1 below the line), which is None for a single value."""

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences and its 95% confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def effect(self) -> Effect:
        """Of what is better when smaller: `nil` where the interval contains 0."""
        if self.high < 0:
            return "better"
        return "worse" if self.low > 0 else "nil"


def spread(samples: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(fmean(samples), stdev(samples) if len(samples) > 1 else None, len(samples))


def paired_difference(treated: Sequence[float], untreated: Sequence[float]) -> Difference:
    """`treated - untreated`, pair by pair: mean ± t * sd / sqrt(n), t with n - 1 degrees of freedom (Student 1908).

    Raises `ValueError` unless there are 2 to 31 pairs.
    """
    differences = list(starmap(sub, zip(treated, untreated, strict=True)))
    if not 2 <= len(differences) <= MOST_PAIRS:
        raise ValueError(f"An interval needs 2 to {MOST_PAIRS} pairs; there are {len(differences)}.")
    mean = fmean(differences)
    reach = STUDENT_T[len(differences) - 2] * stdev(differences) / sqrt(len(differences))
    return Difference(mean, mean - reach, mean + reach)
