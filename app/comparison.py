"""Trainings side by side: what their specs differ in, and what those that differ only in their seed say together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import cos, fsum, pi, sin, sqrt, tan
from typing import Any

from trainer.parsing import pointer
from trainer.spec.queued import SERVED_BY

CONFIDENCE = 0.95
HALVINGS = 60


@dataclass(frozen=True)
class Difference:
    """A value of the spec that is not the same everywhere: one for each job, None where a spec has no such key."""

    pointer: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class MeanInterval:
    """A mean over `count` trainings, their standard deviation, and the ends of the mean's interval (Student 1908)."""

    count: int
    mean: float
    std: float
    low: float
    high: float


def differences(specs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Where specs differ, in the order of their keys; what only concerns the service is left out."""
    flat = [dict(_leaves({key: value for key, value in spec.items() if key not in SERVED_BY})) for spec in specs]
    places = dict.fromkeys(place for leaves in flat for place in leaves)
    found = (Difference(place, tuple(leaves.get(place) for leaves in flat)) for place in places)
    return [one for one in found if any(value != one.values[0] for value in one.values[1:])]


def alike_but_for_seed(specs: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Places of specs that say the same but for their seed, two or more together, and no seed twice."""
    groups: list[list[int]] = []
    for place, spec in enumerate(specs):
        for group in groups:
            others = [specs[other] for other in group]
            if _is_repetition(spec, others):
                group.append(place)
                break
        else:
            groups.append([place])
    return [group for group in groups if len(group) > 1]


def mean_interval(values: Sequence[float]) -> MeanInterval:
    """Of two values or more, taken as independent and normal: the interval that is right 95 times in 100."""
    count = len(values)
    mean = fsum(values) / count
    std = sqrt(fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = student(CONFIDENCE, count - 1) * std / sqrt(count)
    return MeanInterval(count, mean, std, mean - half, mean + half)


def student(confidence: float, freedom: int) -> float:
    """The t between whose negative and itself Student's distribution has `confidence`, by halving."""
    low, high = 0.0, pi / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _within(middle, freedom) < confidence:
            low = middle
        else:
            high = middle
    return sqrt(freedom) * tan(low)


def _within(angle: float, freedom: int) -> float:
    """Student's distribution between -t and t, `angle` being atan(t / sqrt(freedom)) (Abramowitz 1964, 26.7.3)."""
    is_odd = freedom % 2
    term, total = (cos(angle) if is_odd else 1.0), 0.0
    for step in range(freedom // 2):
        total += term
        term *= cos(angle) ** 2 * ((2 * step + 2) / (2 * step + 3) if is_odd else (2 * step + 1) / (2 * step + 2))
    return 2 / pi * (angle + sin(angle) * total) if is_odd else sin(angle) * total


def _is_repetition(spec: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> bool:
    return all([one.pointer for one in differences([spec, other])] == ["/seed"] for other in others)


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that holds no others, by its JSON Pointer; empty lists and objects count as values."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    found = False
    for key, item in items:
        found = True
        yield from _leaves(item, at + pointer(key))
    if not found:
        yield at, value
