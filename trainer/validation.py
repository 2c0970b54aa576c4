"""What a spec means for a data set: every mistake between fields, or the plan of the training.

Pure arithmetic, no torch: the API answers with it before anything is stored, and the trainer asks it again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import assert_never

from trainer import networks, schedule, sparsity
from trainer.data import DataFacts
from trainer.errors import Mistake, SpecInvalid, Warning
from trainer.layers import BatchNormalization, Layer, LayerRow, ShapeMismatch, table
from trainer.memory import Memory, estimate
from trainer.networks import lint, start
from trainer.parsing import pointer
from trainer.spec import (
    AveragedMomentum,
    BatchNorm,
    ClassicalMomentum,
    ConstantInitialization,
    CosineSchedule,
    HeInitialization,
    HorizontalFlip,
    Momentum,
    NesterovMomentum,
    NoMomentum,
    RandomCrop,
    SnapshotCycles,
    SnapshotEnsemble,
    StepSchedule,
    TrainingSpec,
)

MOST_PARAMETERS = 10**9
SMALLEST_NORMALIZED_BATCH = 8
LARGEST_USUAL_STEP = 10.0
HANDED_DATASETS = {"mnist5k"}
"""Data sets whose images mean something else when mirrored."""


@dataclass(frozen=True)
class Plan:
    """What will happen: the layers, the rate at the start of each epoch, the epochs that end in a snapshot.

    `multiply_adds` is for one image, forward; `activations` counts the values that training keeps of one image.
    """

    spec: TrainingSpec
    layers: tuple[LayerRow, ...]
    parameters: int
    multiply_adds: int
    activations: int
    memory: Memory
    steps_per_epoch: int
    learning_rates: tuple[float, ...]
    snapshot_epochs: tuple[int, ...]
    warnings: tuple[Warning, ...]


def check(spec: TrainingSpec, facts: DataFacts) -> Plan:
    """The plan of training `spec` on the data set. Raises `SpecInvalid` with every mistake."""
    mistakes = [*_schedule_mistakes(spec), *_ensemble_mistakes(spec), *_data_mistakes(spec, facts)]
    layers: tuple[Layer, ...] = ()
    rows: tuple[LayerRow, ...] = ()
    try:
        layers = networks.describe(spec.network, facts.shape, len(facts.classes))
        rows = table(layers, facts.shape)
        mistakes += lint.mistakes(spec.network, layers)
        mistakes += _size_mistakes(rows)
        mistakes += _batch_norm_mistakes(spec, facts, rows)
        mistakes += start.mistakes(spec.network, layers, rows, facts.train_count)
        mistakes += _pruning_mistakes(spec, rows)
    except ShapeMismatch as mismatch:
        mistakes.append(lint.misfit(spec.network, mismatch))
    if mistakes:
        raise SpecInvalid(mistakes)
    return Plan(
        spec=spec,
        layers=rows,
        parameters=_parameters(rows),
        multiply_adds=sum(row.multiply_adds for row in rows),
        activations=sum(row.activations for row in rows),
        memory=estimate(spec, rows),
        steps_per_epoch=steps_per_epoch(spec, facts.train_count),
        learning_rates=_boundary_rates(spec),
        snapshot_epochs=_snapshot_epochs(spec),
        warnings=(
            *_warnings(spec),
            *lint.warnings(spec.network, layers, rows),
            *start.warnings(spec.network, layers, rows),
        ),
    )


def steps_per_epoch(spec: TrainingSpec, train_count: int) -> int:
    """Updates in one pass over `train_count` images."""
    full, rest = divmod(train_count, spec.batch_size)
    return full + (1 if rest and spec.last_batch == "keep" else 0)


def _schedule_mistakes(spec: TrainingSpec) -> Iterator[Mistake]:
    epochs = spec.epochs_each
    match spec.schedule:
        case SnapshotCycles(cycles=cycles) if epochs % cycles and not spec.epochs % spec.trainings:
            fitting = [number for number in range(1, epochs + 1) if epochs % number == 0]
            below = max((number for number in fitting if number < cycles), default=None)
            above = min((number for number in fitting if number > cycles), default=None)
            instead = " or ".join(str(number) for number in (below, above) if number)
            yield Mistake(
                "/schedule/cycles",
                "not_divisible",
                f"{epochs} epochs cannot be divided into {cycles} equal cycles; use {instead} cycles, "
                f"or {spec.trainings * cycles * max(1, round(epochs / cycles))} epochs.",
            )
        case CosineSchedule(minimum=minimum, learning_rate=rate) if minimum > rate:
            yield Mistake(
                "/schedule/minimum",
                "above_learning_rate",
                f"The minimum {minimum:g} is above the learning rate {rate:g}; the rate must fall.",
            )


def _ensemble_mistakes(spec: TrainingSpec) -> Iterator[Mistake]:
    if not isinstance(spec.ensemble, SnapshotEnsemble):
        return
    if not isinstance(spec.schedule, SnapshotCycles):
        yield Mistake(
            "/ensemble/kind",
            "no_cycles",
            f"An ensemble of snapshots needs the schedule snapshot_cycles; this one is {spec.schedule.kind} "
            "and gives a single snapshot.",
        )
    elif spec.ensemble.last > spec.schedule.cycles:
        yield Mistake(
            "/ensemble/last",
            "more_than_cycles",
            f"The last {spec.ensemble.last} snapshots are asked for, but {spec.schedule.cycles} cycles give "
            f"{spec.schedule.cycles}.",
        )


def _pruning_mistakes(spec: TrainingSpec, rows: tuple[LayerRow, ...]) -> Iterator[Mistake]:
    pruning = spec.pruning
    if not pruning:
        return
    if spec.epochs % spec.trainings:
        fitting = [number - 1 for number in range(2, spec.epochs + 1) if spec.epochs % number == 0 and number <= 101]
        nearest = min(fitting, key=lambda rounds: abs(rounds - pruning.rounds), default=None)
        epochs = spec.trainings * max(1, round(spec.epochs / spec.trainings))
        yield Mistake(
            "/pruning/rounds",
            "not_divisible",
            f"{pruning.rounds} rounds make {spec.trainings} trainings, into which {spec.epochs} epochs cannot be "
            f"divided; use {'' if nearest is None else f'{nearest} rounds or '}{epochs} epochs.",
        )
    for name, weights, rate in sparsity.shares(pruning, rows):
        if not sparsity.left(weights, rate, pruning.rounds):
            most = next(rounds for rounds in range(100, -1, -1) if sparsity.left(weights, rate, rounds))
            yield Mistake(
                "/pruning/rate",
                "nothing_left",
                f"At this rate nothing is left of the {weights:,} weights of {name} after {pruning.rounds} rounds; use "
                f"a lower rate{f' or at most {most} rounds' if most else ''}.",
            )
            return


def _boundary_rates(spec: TrainingSpec) -> tuple[float, ...]:
    """The rate at each epoch boundary: the schedule's, once for each training."""
    rates = schedule.boundary_rates(spec.schedule, spec.epochs_each)
    return (*rates[:-1] * (spec.trainings - 1), *rates)


def _snapshot_epochs(spec: TrainingSpec) -> tuple[int, ...]:
    """The schedule's snapshots, once for each training."""
    each = schedule.snapshot_epochs(spec.schedule, spec.epochs_each)
    return tuple(number * spec.epochs_each + epoch for number in range(spec.trainings) for epoch in each)


def _data_mistakes(spec: TrainingSpec, facts: DataFacts) -> Iterator[Mistake]:
    if spec.batch_size > facts.train_count:
        yield Mistake(
            "/batch_size",
            "larger_than_split",
            f"A batch of {spec.batch_size} is larger than the training split of {facts.name}, which has "
            f"{facts.train_count} images.",
        )
    if spec.network.classes not in (None, len(facts.classes)):
        yield Mistake(
            "/network/classes",
            "wrong_class_count",
            f"{facts.name} has {len(facts.classes)} classes, not {spec.network.classes}; leave `classes` out or "
            "correct it.",
        )
    smallest = min(facts.height, facts.width)
    for index, step in enumerate(spec.augmentation):
        if isinstance(step, RandomCrop) and step.padding >= smallest:
            yield Mistake(
                pointer("augmentation", index, "padding"),
                "larger_than_image",
                f"With {step.padding} pixels of padding a crop of a {facts.height}×{facts.width} image could "
                f"hold nothing of it; use less than {smallest}.",
            )


def _size_mistakes(rows: tuple[LayerRow, ...]) -> Iterator[Mistake]:
    parameters = _parameters(rows)
    if parameters > MOST_PARAMETERS:
        largest = max(rows, key=lambda row: row.weights)
        yield Mistake(
            "/network",
            "too_large",
            f"This network has {parameters:,} parameters, more than {MOST_PARAMETERS:,}; layer {largest.index} "
            f"({largest.name}) alone has {largest.weights:,}.",
        )


def _batch_norm_mistakes(spec: TrainingSpec, facts: DataFacts, rows: tuple[LayerRow, ...]) -> Iterator[Mistake]:
    """One image with one value a channel has no variance."""
    last = facts.train_count % spec.batch_size if spec.last_batch == "keep" else 0
    if 1 not in (spec.batch_size, last):
        return
    for row in rows:
        if row.kind == BatchNormalization.__name__ and prod(row.input_shape[1:]) == 1:
            which = "Every batch" if spec.batch_size == 1 else "The last batch of an epoch"
            yield Mistake(
                "/batch_size",
                "single_value_batch_norm",
                f"{which} holds one image, and batch norm in layer {row.index} ({row.name}) needs at least two "
                "values a channel; use another batch_size" + ("." if last != 1 else " or last_batch: drop."),
            )
            return


def _parameters(rows: tuple[LayerRow, ...]) -> int:
    return sum(row.weights + row.biases for row in rows)


def _warnings(spec: TrainingSpec) -> Iterator[Warning]:
    yield from _network_warnings(spec)
    yield from _update_warnings(spec)
    if isinstance(spec.schedule, SnapshotCycles) and not isinstance(spec.ensemble, SnapshotEnsemble):
        yield Warning("/ensemble", "unused_snapshots", "The schedule takes snapshots, but no ensemble is made of them.")
    for index, step in enumerate(spec.augmentation):
        if isinstance(step, HorizontalFlip) and spec.dataset in HANDED_DATASETS:
            detail = f"Mirrored images of {spec.dataset} are no longer what their labels say."
            yield Warning(pointer("augmentation", index), "changes_meaning", detail)


def _network_warnings(spec: TrainingSpec) -> Iterator[Warning]:
    network = spec.network
    match network.initialization:
        case ConstantInitialization():
            yield Warning(
                "/network/initialization",
                "symmetric_units",
                "With equal weights the units of a layer compute the same and stay identical for ever.",
            )
        case HeInitialization() if network.activation != "relu":
            yield Warning(
                "/network/initialization",
                "wrong_gain",
                f"He initialization is made for relu; xavier keeps the scale of {network.activation} units.",
            )
    if isinstance(network.batch_norm, BatchNorm) and spec.batch_size < SMALLEST_NORMALIZED_BATCH:
        yield Warning(
            "/batch_size",
            "noisy_batch_norm",
            f"Batch norm over {spec.batch_size} images is very noisy; use at least {SMALLEST_NORMALIZED_BATCH}.",
        )


def _update_warnings(spec: TrainingSpec) -> Iterator[Warning]:
    effective = spec.schedule.learning_rate * _amplification(spec.optimizer.momentum)
    if effective > LARGEST_USUAL_STEP:
        yield Warning(
            "/schedule/learning_rate",
            "large_steps",
            f"With this momentum, steps add up to an effective learning rate of {effective:g}; most trainings "
            f"diverge above {LARGEST_USUAL_STEP:g}.",
        )
    if isinstance(spec.schedule, StepSchedule) and spec.schedule.every >= spec.epochs_each:
        detail = f"The rate never falls: the first decay comes after {spec.schedule.every} epochs."
        yield Warning("/schedule/every", "never_decays", detail)


def _amplification(momentum: Momentum) -> float:
    """What a constant gradient is multiplied by once the velocity has settled."""
    match momentum:
        case NoMomentum() | AveragedMomentum():
            return 1.0
        case ClassicalMomentum(m=m) | NesterovMomentum(m=m):
            return 1 / (1 - m)
        case _:
            assert_never(momentum)
