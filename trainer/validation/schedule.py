"""Learning rates: that warm-up, cycles and decays fit into the training, and that rates rise and fall as said."""

from collections.abc import Iterator
from itertools import pairwise

from trainer import schedule
from trainer.errors import Mistake, SpecWarning
from trainer.parsing import pointer
from trainer.spec import (
    CosineRestarts,
    CosineSchedule,
    LinearSchedule,
    MultiStepSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    PolynomialSchedule,
    SnapshotCycles,
    StepSchedule,
    TrainingSpec,
    TriangularSchedule,
)

LEAST_USEFUL_SHARE = 1e-3
"""Of the highest rate: below it, training stands still."""


def mistakes(spec: TrainingSpec) -> Iterator[Mistake]:
    """Of the schedule, for epochs that the trainings of a pruning can share."""
    if spec.epochs % spec.trainings:
        return
    warmup = spec.schedule.warmup
    if warmup and warmup.epochs >= spec.epochs_each:
        yield Mistake(
            "/schedule/warmup/epochs",
            "longer_than_training",
            f"A warm-up of {warmup.epochs:g} epochs leaves nothing of {spec.epochs_each} epochs to the schedule; use "
            "less.",
        )
    elif isinstance(spec.schedule, SnapshotCycles | CosineRestarts):
        yield from _cycle_mistakes(spec, spec.schedule)
    yield from _bound_mistakes(spec)
    if isinstance(spec.schedule, MultiStepSchedule):
        for index, (before, after) in enumerate(pairwise(spec.schedule.after), start=1):
            if before >= after:
                yield Mistake(
                    pointer("schedule", "after", index),
                    "not_ascending",
                    f"{after} does not come after {before}; list each number of epochs once, in ascending order.",
                )


def warnings(spec: TrainingSpec) -> Iterator[SpecWarning]:
    """Of decays and peaks that never come, and of rates that train nothing."""
    left = schedule.span(spec.schedule, spec.epochs_each)
    match spec.schedule:
        case StepSchedule(every=every) if every >= left:
            detail = f"The rate never falls: the first decay comes after {every} epochs."
            yield SpecWarning("/schedule/every", "never_decays", detail)
        case MultiStepSchedule(after=after):
            for index, epoch in enumerate(after):
                if epoch >= left:
                    detail = f"This decay never comes: the schedule ends after {left:g} epochs."
                    yield SpecWarning(pointer("schedule", "after", index), "never_decays", detail)
        case PlateauSchedule(patience=patience) if patience >= left:
            detail = (
                f"The rate never falls: the schedule has {left:g} epochs to wait for {patience} without improvement."
            )
            yield SpecWarning("/schedule/patience", "never_decays", detail)
        case TriangularSchedule(half=half) if half > left:
            detail = f"The rate never comes to its peak, which is after {half:g} epochs."
            yield SpecWarning("/schedule/half", "never_peaks", detail)
        case CosineRestarts() if schedule.cycle_ends(spec.schedule, spec.epochs_each)[-1] != spec.epochs_each:
            yield SpecWarning("/epochs", "unfinished_cycle", unfinished(spec, spec.schedule))
    warmup = spec.schedule.warmup
    if warmup and warmup.epochs > spec.epochs_each / 2:
        detail = f"The warm-up takes more than half of the {spec.epochs_each} epochs."
        yield SpecWarning("/schedule/warmup/epochs", "long_warmup", detail)
    if warmup and warmup.start == 0 and spec.schedule.clock == "epoch":
        detail = "By the clock of whole epochs the first one trains at a rate of zero; use a start above 0."
        yield SpecWarning("/schedule/warmup/start", "idle_epoch", detail)
    if vanishes(spec, spec.epochs_each / 2):
        detail = f"Through the last half of the training the rate is below {LEAST_USEFUL_SHARE:g} of its highest."
        yield SpecWarning("/schedule", "vanishing_rate", detail)


def vanishes(spec: TrainingSpec, start: float) -> bool:
    """Whether the rate is too low to train from the epoch `start` on, looked at in 64 places."""
    moments = (start + (spec.epochs_each - start) * share / 64 for share in range(64))
    rates = (schedule.learning_rate(spec.schedule, moment, spec.epochs_each) for moment in moments)
    return max(rates) < LEAST_USEFUL_SHARE * schedule.peak(spec.schedule)


def unfinished(spec: TrainingSpec, cyclic: CosineRestarts) -> str:
    """What is wrong with a training that ends inside a cycle, where the rate is high, and which epochs fit."""
    ends = schedule.cycle_ends(cyclic, spec.epochs_each)
    length = cyclic.first * cyclic.factor ** len(ends)
    return (
        f"The training ends inside a cycle, where the rate is still high; use "
        f"{spec.trainings * ends[-1]} or {spec.trainings * (ends[-1] + length)} epochs."
    )


def _cycle_mistakes(spec: TrainingSpec, cyclic: SnapshotCycles | CosineRestarts) -> Iterator[Mistake]:
    """Cycles are whole epochs: each ends in a snapshot."""
    epochs = spec.epochs_each
    left = schedule.span(cyclic, epochs)
    if left != int(left):
        yield Mistake(
            "/schedule/warmup/epochs",
            "not_whole",
            f"Cycles start at the beginning of an epoch; use a warm-up of whole epochs, not {epochs - left:g}.",
        )
    elif isinstance(cyclic, SnapshotCycles) and left % cyclic.cycles:
        fitting = [number for number in range(1, int(left) + 1) if left % number == 0]
        below = max((number for number in fitting if number < cyclic.cycles), default=None)
        above = min((number for number in fitting if number > cyclic.cycles), default=None)
        instead = " or ".join(str(number) for number in (below, above) if number)
        warmup = int(epochs - left)
        after = f" after {warmup} of warm-up" if warmup else ""
        yield Mistake(
            "/schedule/cycles",
            "not_divisible",
            f"{left:g} epochs{after} cannot be divided into {cyclic.cycles} equal cycles; use {instead} cycles, "
            f"or {spec.trainings * (cyclic.cycles * max(1, round(left / cyclic.cycles)) + warmup)} epochs.",
        )
    elif isinstance(cyclic, CosineRestarts) and cyclic.first > left:
        yield Mistake(
            "/schedule/first",
            "longer_than_training",
            f"The first cycle of {cyclic.first} epochs would never end: the schedule has {left:g}; use fewer, or the "
            "schedule cosine.",
        )


def _bound_mistakes(spec: TrainingSpec) -> Iterator[Mistake]:
    """Rates fall to a minimum and rise to a maximum, not the other way round."""
    rate = spec.schedule.learning_rate
    match spec.schedule:
        case (
            CosineSchedule(minimum=minimum)
            | CosineRestarts(minimum=minimum)
            | LinearSchedule(minimum=minimum)
            | PolynomialSchedule(minimum=minimum)
            | PlateauSchedule(minimum=minimum)
        ) if minimum > rate:
            yield Mistake(
                "/schedule/minimum",
                "above_learning_rate",
                f"The minimum {minimum:g} is above the learning rate {rate:g}; the rate must fall.",
            )
        case TriangularSchedule(maximum=maximum) | OneCycleSchedule(maximum=maximum) if maximum < rate:
            yield Mistake(
                "/schedule/maximum",
                "below_learning_rate",
                f"The maximum {maximum:g} is below the learning rate at the start, {rate:g}; the rate must rise.",
            )
        case OneCycleSchedule(maximum=maximum, minimum=minimum) if minimum > maximum:
            yield Mistake(
                "/schedule/minimum",
                "above_maximum",
                f"The minimum {minimum:g} is above the maximum {maximum:g}; the rate must fall to it.",
            )
