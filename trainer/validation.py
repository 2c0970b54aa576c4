"""What a spec means for a data set: every mistake between fields, or the plan of the training.

Pure arithmetic, no torch: the API answers with it before anything is stored, and the trainer asks it again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import assert_never

from trainer import networks, schedule
from trainer.data import DataFacts
from trainer.errors import Mistake, SpecInvalid
from trainer.layers import BatchNormalization, Convolution, LayerRow, Pool, ShapeMismatch, show, table
from trainer.parsing import pointer
from trainer.spec import (
    AveragedMomentum,
    BatchNorm,
    ClassicalMomentum,
    ColorJitter,
    ConstantInitialization,
    ConvNet,
    CosineSchedule,
    Cutout,
    HeInitialization,
    HorizontalFlip,
    Mixup,
    Momentum,
    NesterovMomentum,
    NoMomentum,
    PcaLighting,
    PcaWhitening,
    RandomCrop,
    SnapshotCycles,
    SnapshotEnsemble,
    StepSchedule,
    TrainingSpec,
)

MOST_PARAMETERS = 10**9
SMALLEST_NORMALIZED_BATCH = 8
LARGEST_USUAL_STEP = 10.0
LARGEST_WHITENED = 4_096
"""Values of an image that is whitened. The matrix, stored with every snapshot, then has 64 MiB, and its
decomposition takes a minute or two; both grow fast from there."""
CAREFUL_EPSILON = 0.01
USUAL_LABEL_SMOOTHING = 0.5
HANDED_DATASETS = {"mnist5k"}
"""Data sets whose images mean something else when mirrored."""


@dataclass(frozen=True)
class Warning:
    """Something that will run, but hardly as wished. `pointer` and `code` as in `Mistake`."""

    pointer: str
    code: str
    detail: str


@dataclass(frozen=True)
class Plan:
    """What will happen: the layers, the rate at the start of each epoch, the epochs that end in a snapshot.

    `multiply_adds` is for one image, forward.
    """

    spec: TrainingSpec
    layers: tuple[LayerRow, ...]
    parameters: int
    multiply_adds: int
    steps_per_epoch: int
    learning_rates: tuple[float, ...]
    snapshot_epochs: tuple[int, ...]
    warnings: tuple[Warning, ...]


def check(spec: TrainingSpec, facts: DataFacts) -> Plan:
    """The plan of training `spec` on the data set. Raises `SpecInvalid` with every mistake."""
    mistakes = [*_schedule_mistakes(spec), *_ensemble_mistakes(spec), *_data_mistakes(spec, facts)]
    mistakes += [*_whitening_mistakes(spec, facts), *_augmentation_mistakes(spec, facts)]
    rows: tuple[LayerRow, ...] = ()
    try:
        layers = networks.describe(spec.network, facts.shape, len(facts.classes))
        rows = table(layers, facts.shape)
        mistakes += _size_mistakes(rows)
        mistakes += _batch_norm_mistakes(spec, facts, rows)
    except ShapeMismatch as mismatch:
        mistakes.append(_misfit(spec, mismatch))
    if mistakes:
        raise SpecInvalid(mistakes)
    return Plan(
        spec=spec,
        layers=rows,
        parameters=_parameters(rows),
        multiply_adds=sum(row.multiply_adds for row in rows),
        steps_per_epoch=steps_per_epoch(spec, facts.train_count),
        learning_rates=schedule.boundary_rates(spec.schedule, spec.epochs),
        snapshot_epochs=schedule.snapshot_epochs(spec.schedule, spec.epochs),
        warnings=(*_warnings(spec), *_whitening_warnings(spec, facts, rows), *_augmentation_warnings(spec, facts)),
    )


def steps_per_epoch(spec: TrainingSpec, train_count: int) -> int:
    """Updates in one pass over `train_count` images."""
    full, rest = divmod(train_count, spec.batch_size)
    return full + (1 if rest and spec.last_batch == "keep" else 0)


def _schedule_mistakes(spec: TrainingSpec) -> Iterator[Mistake]:
    match spec.schedule:
        case SnapshotCycles(cycles=cycles) if spec.epochs % cycles:
            fitting = [number for number in range(1, spec.epochs + 1) if spec.epochs % number == 0]
            below = max((number for number in fitting if number < cycles), default=None)
            above = min((number for number in fitting if number > cycles), default=None)
            instead = " or ".join(str(number) for number in (below, above) if number)
            yield Mistake(
                "/schedule/cycles",
                "not_divisible",
                f"{spec.epochs} epochs cannot be divided into {cycles} equal cycles; use {instead} cycles, "
                f"or {cycles * max(1, round(spec.epochs / cycles))} epochs.",
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


def _whitening_mistakes(spec: TrainingSpec, facts: DataFacts) -> Iterator[Mistake]:
    if spec.preprocessing.whitening is None:
        return
    if spec.preprocessing.centre != "per_pixel":
        yield Mistake(
            "/preprocessing/centre",
            "not_centred",
            f"Whitening needs every pixel to have mean 0, which centre: {spec.preprocessing.centre} does not give; "
            "use centre: per_pixel.",
        )
    if prod(facts.shape) > LARGEST_WHITENED:
        yield Mistake(
            "/preprocessing/whitening",
            "larger_than_whitened",
            f"Images of {facts.name} have {show(facts.shape)} = {prod(facts.shape):,} values, and whitening is for "
            f"at most {LARGEST_WHITENED:,}; leave it out or use smaller images.",
        )


def _augmentation_mistakes(spec: TrainingSpec, facts: DataFacts) -> Iterator[Mistake]:
    yield from _mixup_mistakes(spec)
    size, smallest = f"{facts.height}×{facts.width}", min(facts.height, facts.width)
    for index, step in enumerate(spec.augmentation):
        match step:
            case RandomCrop(padding=padding) if padding >= smallest:
                yield Mistake(
                    pointer("augmentation", index, "padding"),
                    "larger_than_image",
                    f"With {padding} pixels of padding a crop of a {size} image could hold nothing of it; use less "
                    f"than {smallest}.",
                )
            case Cutout(size=side) if side > smallest:
                yield Mistake(
                    pointer("augmentation", index, "size"),
                    "larger_than_image",
                    f"A square of {side}×{side} pixels is larger than a {size} image; use at most {smallest}.",
                )
            case ColorJitter():
                for name in ("saturation", "hue"):
                    if getattr(step, name) and facts.channels != 3:
                        yield _colourless(facts, "Colour jitter's " + name, "augmentation", index, name)
            case PcaLighting() if facts.channels != 3:
                yield _colourless(facts, "PCA lighting", "augmentation", index, "kind")


def _colourless(facts: DataFacts, what: str, *at: int | str) -> Mistake:
    channels = f"{facts.channels} channel" + ("s" if facts.channels > 1 else "")
    return Mistake(
        pointer(*at),
        "needs_colour",
        f"{what} is for RGB images, and those of {facts.name} have {channels}; leave it out.",
    )


def _mixup_mistakes(spec: TrainingSpec) -> Iterator[Mistake]:
    match [index for index, step in enumerate(spec.augmentation) if isinstance(step, Mixup)]:
        case [_, second, *_]:
            yield Mistake(pointer("augmentation", second), "repeated", "Mixup stands here twice; keep one of them.")
        case [index] if index < len(spec.augmentation) - 1:
            yield Mistake(
                pointer("augmentation", index),
                "not_last",
                "Mixup must come last, so that each of two mixed images has been changed on its own; move it to the "
                "end.",
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


def _misfit(spec: TrainingSpec, mismatch: ShapeMismatch) -> Mistake:
    match spec.network, mismatch.layer:
        case ConvNet(), Convolution():
            return Mistake(
                "/network/kernel_size",
                "shape_mismatch",
                f"{mismatch} Use a smaller kernel_size, more padding or fewer channels.",
            )
        case ConvNet(), Pool():
            remedy = "Use fewer entries in channels or a smaller pool_size (1 for none)."
            return Mistake("/network/pool_size", "shape_mismatch", f"{mismatch} {remedy}")
    return Mistake("/network", "shape_mismatch", f"{mismatch} Use larger images or more padding.")


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


def _whitening_warnings(spec: TrainingSpec, facts: DataFacts, rows: tuple[LayerRow, ...]) -> Iterator[Warning]:
    whitening = spec.preprocessing.whitening
    if whitening is None:
        return
    if isinstance(whitening, PcaWhitening) and any(row.kind == Convolution.__name__ for row in rows):
        yield Warning(
            "/preprocessing/whitening/kind",
            "no_neighbourhood",
            "Convolutions look for patterns among neighbours, and principal components have none; use zca.",
        )
    dimensions = prod(facts.shape)
    if whitening.epsilon < CAREFUL_EPSILON and facts.train_count < 10 * dimensions:
        yield Warning(
            "/preprocessing/whitening/epsilon",
            "noise_amplified",
            f"{facts.train_count:,} images tell little of the smallest of {dimensions:,} variances, and with epsilon "
            f"{whitening.epsilon:g} what is noise there is amplified; 0.1 is usual for so few.",
        )


def _augmentation_warnings(spec: TrainingSpec, facts: DataFacts) -> Iterator[Warning]:
    for index, step in enumerate(spec.augmentation):
        match step:
            case ColorJitter(brightness=0, contrast=0, saturation=0, hue=0):
                detail = "All strengths are 0, and nothing is changed; give one of them."
                yield Warning(pointer("augmentation", index), "changes_nothing", detail)
            case Cutout(size=side) if 2 * side**2 > facts.height * facts.width:
                detail = f"A square of {side}×{side} pixels hides most of a {facts.height}×{facts.width} image."
                yield Warning(pointer("augmentation", index, "size"), "hides_most", detail)
            case Mixup() if spec.batch_size == 1:
                detail = "In a batch of one image mixup finds no partner and changes nothing."
                yield Warning("/batch_size", "no_partner", detail)


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
    if spec.loss.label_smoothing > USUAL_LABEL_SMOOTHING:
        yield Warning(
            "/loss/label_smoothing",
            "mostly_smoothed",
            f"A share of {spec.loss.label_smoothing:g} of each target tells nothing of the image; 0.1 is usual.",
        )
    if isinstance(spec.schedule, StepSchedule) and spec.schedule.every >= spec.epochs:
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
