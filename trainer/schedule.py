"""Learning rates over a training: pure functions of the clock.

The clock `t` counts epochs, in fractions, from 0 at the first step: the update in step `s` (counted from 0) of
an epoch of `n` steps uses `t = epoch + s / n`. The optimizer and the preview call the same function.
"""

from math import cos, exp, floor, nextafter, pi
from typing import assert_never

from trainer.spec import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    InverseTimeSchedule,
    Schedule,
    SnapshotCycles,
    StepSchedule,
)


def learning_rate(schedule: Schedule, t: float, epochs: int) -> float:
    """The rate at `t` epochs of a training of `epochs`; each kind's rule is in `trainer.spec`."""
    start = schedule.learning_rate
    match schedule:
        case ConstantSchedule():
            return start
        case StepSchedule(factor=factor, every=every):
            return start * factor ** floor(t / every)
        case ExponentialSchedule(k=k):
            return start * exp(-k * t)
        case InverseTimeSchedule(k=k):
            return start / (1 + k * t)
        case CosineSchedule(minimum=minimum):
            return minimum + (start - minimum) * half_cosine(t / epochs)
        case SnapshotCycles(cycles=cycles):
            length = epochs // cycles
            return start * half_cosine((t % length) / length)
        case _:
            assert_never(schedule)


def half_cosine(share: float) -> float:
    """From 1 at `share` 0 down to 0 at `share` 1."""
    return (cos(pi * share) + 1) / 2


def snapshot_epochs(schedule: Schedule, epochs: int) -> tuple[int, ...]:
    """The epochs, counted from 1, after which a snapshot is taken: each cycle's last, else the last of all."""
    if isinstance(schedule, SnapshotCycles):
        length = epochs // schedule.cycles
        return tuple(range(length, epochs + 1, length))
    return (epochs,)


def boundary_rates(schedule: Schedule, epochs: int) -> tuple[float, ...]:
    """The rate at each epoch boundary, `epochs + 1` numbers, the last one as it is approached.

    Where a cycle ends, the next one has begun; at the very end of the training none follows.
    """
    boundaries = [*range(epochs), nextafter(epochs, 0)]
    return tuple(learning_rate(schedule, t, epochs) for t in boundaries)
