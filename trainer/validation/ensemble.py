"""Snapshots, members and averages: that there are as many as are asked for, and that they differ."""

from collections.abc import Iterator
from math import ceil, log

from trainer import schedule
from trainer.errors import Mistake, SpecWarning
from trainer.spec import (
    CosineRestarts,
    ExponentialMovingAverage,
    IndependentEnsemble,
    NoEnsemble,
    SnapshotCycles,
    SnapshotEnsemble,
    StochasticWeightAveraging,
    TrainingSpec,
)
from trainer.validation.schedule import LEAST_USEFUL_SHARE, unfinished, vanishes

LEAST_CYCLE = 10
"""Epochs. In docs/ensembles.md snapshots of cycles of 5 are worse than one model; of cycles of 20 and 40, no worse."""
LARGEST_SHARE_OF_START = 0.1
"""Of the initial weights in a moving average at the end."""


def mistakes(spec: TrainingSpec) -> Iterator[Mistake]:
    """Of snapshots that there will not be, and of averages that never come or begin anew."""
    if spec.pruning and isinstance(spec.ensemble, StochasticWeightAveraging | ExponentialMovingAverage):
        detail = "Each pruning sets the weights back to their start, and an average begins anew; leave one of them out."
        yield Mistake("/ensemble/kind", "pruned_average", detail)
        return
    match spec.ensemble:
        case SnapshotEnsemble():
            yield from _snapshot_mistakes(spec, spec.ensemble)
        case StochasticWeightAveraging(start=start) if start >= spec.epochs:
            yield Mistake(
                "/ensemble/start",
                "too_late",
                f"From the end of epoch {start} on, {spec.epochs} epochs give fewer than two sets of weights to "
                "average; start earlier.",
            )
        case StochasticWeightAveraging(start=start, every=every) if start + every > spec.epochs:
            yield Mistake(
                "/ensemble/every",
                "never_comes",
                f"After epoch {start} the next weights would be those of epoch {start + every}, and the training has "
                f"{spec.epochs}; use at most {spec.epochs - start}.",
            )


def warnings(spec: TrainingSpec, steps: int) -> Iterator[SpecWarning]:
    """Of snapshots that nobody uses or that learn little, and of averages after too few steps of one member."""
    if isinstance(spec.schedule, SnapshotCycles):
        yield from _unused_snapshots(spec)
        yield from _short_cycles(spec, spec.schedule)
    yield from _average_warnings(spec, steps)


def _snapshot_mistakes(spec: TrainingSpec, ensemble: SnapshotEnsemble) -> Iterator[Mistake]:
    match spec.schedule:
        case SnapshotCycles(cycles=cycles):
            pass
        case CosineRestarts():
            ends = schedule.cycle_ends(spec.schedule, spec.epochs_each)
            cycles = len(ends)
            if cycles and ends[-1] != spec.epochs_each:
                yield Mistake("/epochs", "unfinished_cycle", unfinished(spec, spec.schedule))
        case _:
            yield Mistake(
                "/ensemble/kind",
                "no_cycles",
                "An ensemble of snapshots needs the schedule snapshot_cycles or cosine_restarts; this one is "
                f"{spec.schedule.kind} and gives a single snapshot.",
            )
            return
    if ensemble.last > cycles > 0:
        yield Mistake(
            "/ensemble/last",
            "more_than_cycles",
            f"The last {ensemble.last} snapshots are asked for, but {cycles} cycles give {cycles}.",
        )


def _unused_snapshots(spec: TrainingSpec) -> Iterator[SpecWarning]:
    match spec.ensemble:
        case NoEnsemble() | ExponentialMovingAverage():
            detail = "The schedule takes snapshots, but no ensemble is made of them."
            yield SpecWarning("/ensemble", "unused_snapshots", detail)
        case IndependentEnsemble():
            detail = "The schedule has cycles, but independent members are kept at their ends only."
            yield SpecWarning("/ensemble", "unused_snapshots", detail)


def _short_cycles(spec: TrainingSpec, cyclic: SnapshotCycles) -> Iterator[SpecWarning]:
    length = spec.epochs_each / cyclic.cycles
    if isinstance(spec.ensemble, SnapshotEnsemble) and length < LEAST_CYCLE:
        detail = (
            f"Cycles of {length:g} epochs are short: together such snapshots hardly predict better than one model of "
            f"as many epochs. Give each cycle {LEAST_CYCLE} epochs or more, or see what other ensembles cost and bring."
        )
        yield SpecWarning("/schedule/cycles", "short_cycles", detail)


def _average_warnings(spec: TrainingSpec, steps: int) -> Iterator[SpecWarning]:
    match spec.ensemble:
        case StochasticWeightAveraging(start=start) if vanishes(spec, start):
            detail = (
                f"From epoch {start} on the rate is below {LEAST_USEFUL_SHARE:g} of its highest, and the average is of "
                "weights that are nearly the same; start earlier, or let the rate fall less."
            )
            yield SpecWarning("/ensemble/start", "nearly_equal_weights", detail)
        case ExponentialMovingAverage(decay=decay):
            share = decay**steps
            if share > LARGEST_SHARE_OF_START:
                least = ceil(log(LARGEST_SHARE_OF_START) / log(decay))
                detail = (
                    f"After {steps:,} steps the initial weights still have a share of {share:.0%} in the average; it "
                    f"takes {least:,} steps, or a smaller decay, to forget them."
                )
                yield SpecWarning("/ensemble/decay", "remembers_start", detail)
