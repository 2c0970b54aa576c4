"""Learning rates over a training: pure functions of the clock.

The clock `t` counts epochs, in fractions, from 0 at the first step: the update in step `s` (counted from 0) of
an epoch of `n` steps uses `t = epoch + s / n`. The optimizer and the preview call the same function. Only
`plateau` depends on what is measured: `observe` counts its reductions.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from math import cos, exp, floor, nextafter, pi, pow
from typing import assert_never

from trainer.spec import (
    ConstantSchedule,
    CosineRestarts,
    CosineSchedule,
    ExponentialSchedule,
    InverseTimeSchedule,
    LinearSchedule,
    MultiStepSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    PolynomialSchedule,
    Schedule,
    SnapshotCycles,
    StepSchedule,
    TriangularSchedule,
)


@dataclass(frozen=True)
class Observed:
    """What `plateau` has seen: the best validation loss, epochs since, and how often the rate was reduced."""

    best: float | None = None
    waited: int = 0
    reductions: int = 0


def learning_rate(schedule: Schedule, t: float, epochs: int, reductions: int = 0) -> float:
    """The rate at `t` epochs, `0 <= t <= epochs`, of a training of `epochs`; each rule is in `trainer.spec`.

    `reductions` are those of `plateau` so far; other schedules have none.
    """
    if schedule.clock == "epoch":
        t = floor(t)
    if schedule.warmup and t < schedule.warmup.epochs:
        share = t / schedule.warmup.epochs
        return schedule.learning_rate * (schedule.warmup.start + (1 - schedule.warmup.start) * share)
    return _after_warmup(schedule, t - warmup_epochs(schedule), span(schedule, epochs), reductions)


def warmup_epochs(schedule: Schedule) -> float:
    """Epochs before the schedule's own clock starts."""
    return schedule.warmup.epochs if schedule.warmup else 0


def span(schedule: Schedule, epochs: int) -> float:
    """Epochs that the warm-up leaves to the schedule."""
    return epochs - warmup_epochs(schedule)


def peak(schedule: Schedule) -> float:
    """The highest rate that the schedule can come to."""
    match schedule:
        case TriangularSchedule(maximum=maximum) | OneCycleSchedule(maximum=maximum):
            return maximum
        case _:
            return schedule.learning_rate


def snapshot_epochs(schedule: Schedule, epochs: int) -> tuple[int, ...]:
    """The epochs, counted from 1, after which a snapshot is taken: each cycle's last, and the last of all."""
    return (*(end for end in cycle_ends(schedule, epochs) if end < epochs), epochs)


def cycle_ends(schedule: Schedule, epochs: int) -> tuple[int, ...]:
    """The epochs, counted from 1, that end a whole cycle; none where the schedule has no cycles."""
    begin = int(warmup_epochs(schedule))
    match schedule:
        case SnapshotCycles(cycles=cycles):
            length = (epochs - begin) // cycles
            return tuple(range(begin + length, epochs + 1, length))
        case CosineRestarts():
            ends = (begin + end for end in _restarts(schedule))
            return tuple(takewhile(lambda end: end <= epochs, ends))
        case _:
            return ()


def boundary_rates(schedule: Schedule, epochs: int) -> tuple[float, ...]:
    """The rate at each epoch boundary, `epochs + 1` numbers, the last one as it is approached.

    Where a cycle ends, the next one has begun; at the very end of the training none follows. `plateau` is shown
    without reductions.
    """
    boundaries = [*range(epochs), nextafter(epochs, 0)]
    return tuple(learning_rate(schedule, t, epochs) for t in boundaries)


def observe(schedule: Schedule, observed: Observed, epoch: int, validation_loss: float) -> Observed:
    """What is known after `epoch`, counted from 1. Only `plateau` looks, at epochs that begin after the warm-up."""
    if not isinstance(schedule, PlateauSchedule) or epoch - 1 < warmup_epochs(schedule):
        return observed
    if observed.best is None or validation_loss < observed.best * (1 - schedule.threshold):
        return replace(observed, best=validation_loss, waited=0)
    if observed.waited + 1 == schedule.patience:
        return replace(observed, waited=0, reductions=observed.reductions + 1)
    return replace(observed, waited=observed.waited + 1)


def half_cosine(share: float) -> float:
    """From 1 at `share` 0 down to 0 at `share` 1."""
    return (cos(pi * share) + 1) / 2


def _after_warmup(schedule: Schedule, t: float, end: float, reductions: int) -> float:
    start = schedule.learning_rate
    match schedule:
        case ConstantSchedule():
            return start
        case StepSchedule(factor=factor, every=every):
            return start * factor ** floor(t / every)
        case MultiStepSchedule(factor=factor, after=after):
            return start * factor ** bisect_right(after, t)
        case ExponentialSchedule(k=k):
            return start * exp(-k * t)
        case InverseTimeSchedule(k=k):
            return start / (1 + k * t)
        case PolynomialSchedule(power=power, minimum=minimum):
            return minimum + (start - minimum) * pow(1 - t / end, power)
        case LinearSchedule(minimum=minimum):
            return minimum + (start - minimum) * (1 - t / end)
        case CosineSchedule(minimum=minimum):
            return minimum + (start - minimum) * half_cosine(t / end)
        case CosineRestarts(minimum=minimum):
            return minimum + (start - minimum) * half_cosine(_share_of_cycle(schedule, t))
        case SnapshotCycles(cycles=cycles):
            length = end // cycles
            return start * half_cosine((t % length) / length)
        case TriangularSchedule(maximum=maximum, half=half):
            return start + (maximum - start) * (1 - abs(t / half % 2 - 1))
        case OneCycleSchedule():
            return _one_cycle(schedule, t / end)
        case PlateauSchedule(factor=factor, minimum=minimum):
            return max(minimum, start * factor**reductions)
        case _:
            assert_never(schedule)


def _one_cycle(schedule: OneCycleSchedule, share: float) -> float:
    start, top, bottom, rise = schedule.learning_rate, schedule.maximum, schedule.minimum, schedule.rise
    if share < rise:
        return start + (top - start) * (1 - half_cosine(share / rise))
    return bottom + (top - bottom) * half_cosine((share - rise) / (1 - rise))


def _share_of_cycle(schedule: CosineRestarts, t: float) -> float:
    length = schedule.first
    if schedule.factor == 1:
        return t % length / length
    while t >= length:
        t -= length
        length *= schedule.factor
    return t / length


def _restarts(schedule: CosineRestarts) -> Iterator[int]:
    """The schedule's own epochs at which its cycles end, without end."""
    length, end = schedule.first, schedule.first
    while True:
        yield end
        length *= schedule.factor
        end += length
