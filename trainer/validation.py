"""What a spec means for a data set: every mistake between fields, or the plan of the training.

Pure arithmetic, no torch: the API answers with it before anything is stored, and the trainer asks it again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log, prod
from typing import assert_never

from trainer import networks, schedule, sparsity
from trainer.data import DataFacts
from trainer.errors import Mistake, SpecInvalid, Warning
from trainer.layers import BatchNormalization, Convolution, Layer, LayerRow, ShapeMismatch, show, table
from trainer.memory import Memory, estimate
from trainer.networks import checks, start
from trainer.parsing import pointer
from trainer.spec import (
    Adam,
    AdamW,
    AveragedMomentum,
    BatchNorm,
    ClassicalMomentum,
    ColorJitter,
    ConstantInitialization,
    CosineRestarts,
    CosineSchedule,
    Cutout,
    ExponentialMovingAverage,
    HeInitialization,
    HorizontalFlip,
    IndependentEnsemble,
    LinearSchedule,
    Mixup,
    Momentum,
    MultiStepSchedule,
    NesterovMomentum,
    NoEnsemble,
    NoMomentum,
    OneCycleSchedule,
    PcaLighting,
    PcaWhitening,
    PlateauSchedule,
    PolynomialSchedule,
    RandomCrop,
    RmsProp,
    Sgd,
    SnapshotCycles,
    SnapshotEnsemble,
    StepSchedule,
    StochasticWeightAveraging,
    TrainingSpec,
    TriangularSchedule,
)

MOST_PARAMETERS = 10**9
SMALLEST_NORMALIZED_BATCH = 8
LARGEST_USUAL_STEP = 10.0
LARGEST_USUAL_ADAPTIVE_RATE = 0.1
LEAST_USEFUL_SHARE = 1e-3
"""Of the highest rate: below it, training stands still."""
LARGEST_WHITENED = 4_096
"""Values of an image that is whitened. The matrix, stored with every snapshot, then has 64 MiB, and its
decomposition takes a minute or two; both grow fast from there."""
CAREFUL_EPSILON = 0.01
USUAL_LABEL_SMOOTHING = 0.5
FEWEST_COMPILED_STEPS = 2_500
LARGEST_SHARE_OF_START = 0.1
"""Of the initial weights in a moving average at the end."""
HANDED_DATASETS = {"mnist5k"}
"""Data sets whose images mean something else when mirrored."""


@dataclass(frozen=True)
class Plan:
    """What will happen: the layers, the rate at the start of each epoch, the epochs that end in a snapshot.

    Of several members, the rates are those of each, and epochs are counted through. `multiply_adds` is for one image,
    forward; `activations` counts the values that training keeps of one image.
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

    @property
    def steps(self) -> int:
        """Updates of all members."""
        return self.steps_per_epoch * self.spec.total_epochs


def check(spec: TrainingSpec, facts: DataFacts) -> Plan:
    """The plan of training `spec` on the data set. Raises `SpecInvalid` with every mistake."""
    mistakes = [
        *_schedule_mistakes(spec),
        *_decay_mistakes(spec),
        *_ensemble_mistakes(spec),
        *_data_mistakes(spec, facts),
        *_whitening_mistakes(spec, facts),
        *_augmentation_mistakes(spec, facts),
    ]
    layers: tuple[Layer, ...] = ()
    rows: tuple[LayerRow, ...] = ()
    try:
        layers = networks.describe(spec.network, facts.shape, len(facts.classes))
        rows = table(layers, facts.shape)
        mistakes += checks.mistakes(spec.network, layers)
        mistakes += _size_mistakes(rows)
        mistakes += _batch_norm_mistakes(spec, facts, rows)
        mistakes += _layer_rate_mistakes(spec, rows)
        mistakes += start.mistakes(spec.network, layers, rows, facts.train_count)
        mistakes += _pruning_mistakes(spec, rows)
    except ShapeMismatch as mismatch:
        mistakes.append(checks.misfit(spec.network, mismatch))
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
            *_average_warnings(spec, facts),
            *_whitening_warnings(spec, facts, rows),
            *_augmentation_warnings(spec, facts),
            *_execution_warnings(spec, facts, rows),
            *checks.warnings(spec.network, layers, rows),
            *start.warnings(spec.network, layers, rows),
        ),
    )


def steps_per_epoch(spec: TrainingSpec, train_count: int) -> int:
    """Updates in one pass over `train_count` images."""
    full, rest = divmod(train_count, spec.batch_size)
    return full + (1 if rest and spec.last_batch == "keep" else 0)


def _schedule_mistakes(spec: TrainingSpec) -> Iterator[Mistake]:
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


def _decay_mistakes(spec: TrainingSpec) -> Iterator[Mistake]:
    """Weights decay in one way."""
    l2, decoupled = spec.regularization.weight_decay, spec.regularization.decoupled_weight_decay
    if isinstance(spec.optimizer, AdamW):
        if l2:
            yield Mistake(
                "/regularization/weight_decay",
                "two_decays",
                "adamw decays weights beside the gradient, not in it: set optimizer.weight_decay instead, or use adam.",
            )
        if decoupled:
            yield Mistake(
                "/regularization/decoupled_weight_decay",
                "two_decays",
                "adamw brings its own decoupled weight decay: set optimizer.weight_decay instead.",
            )
    elif l2 and decoupled:
        yield Mistake(
            "/regularization/decoupled_weight_decay",
            "two_decays",
            "Weights would decay twice, in the gradient and beside it: leave this or weight_decay out.",
        )


def _layer_rate_mistakes(spec: TrainingSpec, rows: tuple[LayerRow, ...]) -> Iterator[Mistake]:
    """Every entry counts for some layer, and something is left to train."""
    layers = [row.name for row in rows if row.weights or row.biases]
    untouched = set(layers)
    for index, entry in enumerate(spec.optimizer.layer_rates):
        named = [layer for layer in layers if entry.names(layer)]
        where = pointer("optimizer", "layer_rates", index, "layers")
        if not named:
            known = ", ".join(layers)
            yield Mistake(where, "no_such_layer", f"No layer with weights is named {entry.layers}. There are: {known}.")
        elif untouched.isdisjoint(named):
            detail = f"Earlier entries name all of {', '.join(named)}; put this one before them, or leave it out."
            yield Mistake(where, "shadowed", detail)
        untouched.difference_update(named)
    if not any(map(spec.optimizer.layer_factor, layers)):
        where = "/optimizer/layer_rates" if layers else "/network"
        yield Mistake(where, "nothing_to_train", "No layer is left whose weights are trained; free or add one.")


def _ensemble_mistakes(spec: TrainingSpec) -> Iterator[Mistake]:
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


def _snapshot_mistakes(spec: TrainingSpec, ensemble: SnapshotEnsemble) -> Iterator[Mistake]:
    match spec.schedule:
        case SnapshotCycles(cycles=cycles):
            pass
        case CosineRestarts():
            ends = schedule.cycle_ends(spec.schedule, spec.epochs_each)
            cycles = len(ends)
            if cycles and ends[-1] != spec.epochs_each:
                yield Mistake("/epochs", "unfinished_cycle", _unfinished(spec, spec.schedule))
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
    """Of independent members the last epoch of each; else the schedule's, once for each training."""
    if spec.members > 1:
        return tuple(range(spec.epochs, spec.total_epochs + 1, spec.epochs))
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


def _parameters(rows: tuple[LayerRow, ...]) -> int:
    return sum(row.weights + row.biases for row in rows)


def _warnings(spec: TrainingSpec) -> Iterator[Warning]:
    yield from _network_warnings(spec)
    yield from _update_warnings(spec)
    yield from _schedule_warnings(spec)
    if isinstance(spec.schedule, SnapshotCycles):
        yield from _unused_snapshots(spec)
    for index, step in enumerate(spec.augmentation):
        if isinstance(step, HorizontalFlip) and spec.dataset in HANDED_DATASETS:
            detail = f"Mirrored images of {spec.dataset} are no longer what their labels say."
            yield Warning(pointer("augmentation", index), "changes_meaning", detail)


def _unused_snapshots(spec: TrainingSpec) -> Iterator[Warning]:
    match spec.ensemble:
        case NoEnsemble() | ExponentialMovingAverage():
            detail = "The schedule takes snapshots, but no ensemble is made of them."
            yield Warning("/ensemble", "unused_snapshots", detail)
        case IndependentEnsemble():
            detail = "The schedule has cycles, but independent members are kept at their ends only."
            yield Warning("/ensemble", "unused_snapshots", detail)


def _average_warnings(spec: TrainingSpec, facts: DataFacts) -> Iterator[Warning]:
    match spec.ensemble:
        case StochasticWeightAveraging(start=start) if _vanishes(spec, start):
            detail = (
                f"From epoch {start} on the rate is below {LEAST_USEFUL_SHARE:g} of its highest, and the average is of "
                "weights that are nearly the same; start earlier, or let the rate fall less."
            )
            yield Warning("/ensemble/start", "nearly_equal_weights", detail)
        case ExponentialMovingAverage(decay=decay):
            steps = steps_per_epoch(spec, facts.train_count) * spec.epochs
            share = decay**steps
            if share > LARGEST_SHARE_OF_START:
                least = ceil(log(LARGEST_SHARE_OF_START) / log(decay))
                detail = (
                    f"After {steps:,} steps the initial weights still have a share of {share:.0%} in the average; it "
                    f"takes {least:,} steps, or a smaller decay, to forget them."
                )
                yield Warning("/ensemble/decay", "remembers_start", detail)


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


def _execution_warnings(spec: TrainingSpec, facts: DataFacts, rows: tuple[LayerRow, ...]) -> Iterator[Warning]:
    execution = spec.execution
    if execution.precision == "float16" and spec.device == "cpu":
        detail = (
            "Few CPUs have arithmetic in float16, and others refuse it; bfloat16 is more common, float32 runs on all."
        )
        yield Warning("/execution/precision", "rarely_supported", detail)
    if execution.memory_format == "channels_last" and all(row.kind != Convolution.__name__ for row in rows):
        detail = "This network has no convolutions, and its layout stays as it is; leave this out."
        yield Warning("/execution/memory_format", "no_convolutions", detail)
    steps = spec.epochs * steps_per_epoch(spec, facts.train_count)
    if execution.compile and steps < FEWEST_COMPILED_STEPS:
        yield Warning(
            "/execution/compile",
            "short_training",
            f"{steps:,} steps hardly make up for the time that compiling takes; it pays from some "
            f"{FEWEST_COMPILED_STEPS:,} on, if at all.",
        )


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
    highest = schedule.peak(spec.schedule)
    is_start = highest == spec.schedule.learning_rate
    where = "/schedule/learning_rate" if is_start else "/schedule/maximum"
    match spec.optimizer:
        case Sgd(momentum=momentum) if (effective := highest * _amplification(momentum)) > LARGEST_USUAL_STEP:
            yield Warning(
                where,
                "large_steps",
                f"With this momentum, steps add up to an effective learning rate of {effective:g}; most trainings "
                f"diverge above {LARGEST_USUAL_STEP:g}.",
            )
        case Adam() | AdamW() | RmsProp() if highest > LARGEST_USUAL_ADAPTIVE_RATE:
            yield Warning(
                where,
                "large_steps",
                f"{spec.optimizer.kind} moves every weight by about the rate in each step, whatever the gradient's "
                f"size; {highest:g} is large, most trainings use 0.001.",
            )
    decoupled = spec.regularization.decoupled_weight_decay
    if isinstance(spec.optimizer, AdamW):
        decoupled = spec.optimizer.weight_decay
    if highest * decoupled >= 1:
        place = (
            "/optimizer/weight_decay" if isinstance(spec.optimizer, AdamW) else "/regularization/decoupled_weight_decay"
        )
        detail = f"At a rate of {highest:g} each step takes off {highest * decoupled:.0%} of every weight."
        yield Warning(place, "large_decay", detail)
    if spec.loss.label_smoothing > USUAL_LABEL_SMOOTHING:
        yield Warning(
            "/loss/label_smoothing",
            "mostly_smoothed",
            f"A share of {spec.loss.label_smoothing:g} of each target tells nothing of the image; 0.1 is usual.",
        )


def _schedule_warnings(spec: TrainingSpec) -> Iterator[Warning]:
    left = schedule.span(spec.schedule, spec.epochs_each)
    match spec.schedule:
        case StepSchedule(every=every) if every >= left:
            detail = f"The rate never falls: the first decay comes after {every} epochs."
            yield Warning("/schedule/every", "never_decays", detail)
        case MultiStepSchedule(after=after):
            for index, epoch in enumerate(after):
                if epoch >= left:
                    detail = f"This decay never comes: the schedule ends after {left:g} epochs."
                    yield Warning(pointer("schedule", "after", index), "never_decays", detail)
        case PlateauSchedule(patience=patience) if patience >= left:
            detail = (
                f"The rate never falls: the schedule has {left:g} epochs to wait for {patience} without improvement."
            )
            yield Warning("/schedule/patience", "never_decays", detail)
        case TriangularSchedule(half=half) if half > left:
            detail = f"The rate never comes to its peak, which is after {half:g} epochs."
            yield Warning("/schedule/half", "never_peaks", detail)
        case CosineRestarts() if schedule.cycle_ends(spec.schedule, spec.epochs_each)[-1] != spec.epochs_each:
            yield Warning("/epochs", "unfinished_cycle", _unfinished(spec, spec.schedule))
    warmup = spec.schedule.warmup
    if warmup and warmup.epochs > spec.epochs_each / 2:
        detail = f"The warm-up takes more than half of the {spec.epochs_each} epochs."
        yield Warning("/schedule/warmup/epochs", "long_warmup", detail)
    if warmup and warmup.start == 0 and spec.schedule.clock == "epoch":
        detail = "By the clock of whole epochs the first one trains at a rate of zero; use a start above 0."
        yield Warning("/schedule/warmup/start", "idle_epoch", detail)
    if _vanishes(spec, spec.epochs_each / 2):
        detail = f"Through the last half of the training the rate is below {LEAST_USEFUL_SHARE:g} of its highest."
        yield Warning("/schedule", "vanishing_rate", detail)


def _vanishes(spec: TrainingSpec, start: float) -> bool:
    """Looked at in 64 places from the epoch `start` on."""
    moments = (start + (spec.epochs_each - start) * share / 64 for share in range(64))
    rates = (schedule.learning_rate(spec.schedule, moment, spec.epochs_each) for moment in moments)
    return max(rates) < LEAST_USEFUL_SHARE * schedule.peak(spec.schedule)


def _unfinished(spec: TrainingSpec, cyclic: CosineRestarts) -> str:
    """The training ends where the rate is high."""
    ends = schedule.cycle_ends(cyclic, spec.epochs_each)
    length = cyclic.first * cyclic.factor ** len(ends)
    return (
        f"The training ends inside a cycle, where the rate is still high; use "
        f"{spec.trainings * ends[-1]} or {spec.trainings * (ends[-1] + length)} epochs."
    )


def _amplification(momentum: Momentum) -> float:
    """What a constant gradient is multiplied by once the velocity has settled."""
    match momentum:
        case NoMomentum() | AveragedMomentum():
            return 1.0
        case ClassicalMomentum(m=m) | NesterovMomentum(m=m):
            return 1 / (1 - m)
        case _:
            assert_never(momentum)
