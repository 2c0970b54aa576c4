"""The learning rate over a training as a line through points, to be drawn: what a preview shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainer.schedule import cycle_ends, learning_rate, span, warmup_epochs
from trainer.spec import MultiStepSchedule, OneCycleSchedule, Schedule, StepSchedule, TriangularSchedule

EVENLY_SPACED = 200
MOST_TURNS = 500
"""Of more turns, such as a thousand cycles, every so many-th is a point of its own."""
MOST_COUNTED = 2**53
A_HAIR = 1e-9
"""Epochs before a jump: what is still seen in ten thousand of them."""


@dataclass(frozen=True)
class Point:
    """The rate at `epoch`, which counts from the start, in fractions."""

    epoch: float
    rate: float


def of_trainings(schedule: Schedule, epochs: int, trainings: int) -> tuple[Point, ...]:
    """The curve of so many trainings of `epochs` each, one after another; `plateau` is shown without reductions."""
    moments = _moments(schedule, epochs, EVENLY_SPACED // trainings)
    each = [Point(moment, learning_rate(schedule, moment, epochs)) for moment in moments]
    return tuple(Point(number * epochs + point.epoch, point.rate) for number in range(trainings) for point in each)


def _moments(schedule: Schedule, epochs: int, count: int) -> list[float]:
    """Some `count` evenly spaced moments, and both sides of each turn and of the end."""
    turns = [*_turns(schedule, epochs), epochs]
    moments = {*turns, *(turn - A_HAIR for turn in turns), *(epochs * index / count for index in range(count))}
    return sorted(moment for moment in moments if 0 <= moment < epochs)


def _turns(schedule: Schedule, epochs: int) -> Iterator[float]:
    """Where the rate peaks or jumps, or another rule begins."""
    begin = warmup_epochs(schedule)
    left = span(schedule, epochs)
    yield begin
    if schedule.clock == "epoch":
        yield from _thinned(range(epochs))
    match schedule:
        case StepSchedule(every=every):
            yield from (begin + turn for turn in _multiples(every, left))
        case MultiStepSchedule(after=after):
            yield from (begin + turn for turn in _thinned(after))
        case TriangularSchedule(half=half):
            yield from (begin + turn for turn in _multiples(half, left))
        case OneCycleSchedule(rise=rise):
            yield begin + rise * left
        case _:
            yield from _thinned(cycle_ends(schedule, epochs))


def _multiples(length: float, end: float) -> Iterator[float]:
    """Of `length`, up to `end`."""
    count = int(min(end / length, MOST_COUNTED))
    return (length * number for number in _thinned(range(1, count + 1)))


def _thinned(turns: Sequence[int]) -> Sequence[int]:
    """At most `MOST_TURNS` of them. An odd stride takes peaks and valleys by turns."""
    return turns[:: -(-len(turns) // MOST_TURNS) | 1]
