"""What moves weights: optimizer, penalties and loss."""

from collections.abc import Iterator
from typing import assert_never

from trainer import schedule
from trainer.errors import Mistake, SpecWarning
from trainer.layers import LayerRow
from trainer.parsing import pointer
from trainer.spec import (
    Adam,
    AdamW,
    AveragedMomentum,
    ClassicalMomentum,
    Momentum,
    NesterovMomentum,
    NoMomentum,
    RmsProp,
    Sgd,
    TrainingSpec,
)

LARGEST_USUAL_STEP = 10.0
LARGEST_USUAL_ADAPTIVE_RATE = 0.1
USUAL_LABEL_SMOOTHING = 0.5


def mistakes(spec: TrainingSpec) -> Iterator[Mistake]:
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


def layer_rate_mistakes(spec: TrainingSpec, rows: tuple[LayerRow, ...]) -> Iterator[Mistake]:
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


def warnings(spec: TrainingSpec) -> Iterator[SpecWarning]:
    """Of steps, decays and smoothing that are far larger than usual."""
    highest = schedule.peak(spec.schedule)
    is_start = highest == spec.schedule.learning_rate
    where = "/schedule/learning_rate" if is_start else "/schedule/maximum"
    match spec.optimizer:
        case Sgd(momentum=momentum) if (effective := highest * _amplification(momentum)) > LARGEST_USUAL_STEP:
            yield SpecWarning(
                where,
                "large_steps",
                f"With this momentum, steps add up to an effective learning rate of {effective:g}; most trainings "
                f"diverge above {LARGEST_USUAL_STEP:g}.",
            )
        case Adam() | AdamW() | RmsProp() if highest > LARGEST_USUAL_ADAPTIVE_RATE:
            yield SpecWarning(
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
        yield SpecWarning(place, "large_decay", detail)
    if spec.loss.label_smoothing > USUAL_LABEL_SMOOTHING:
        yield SpecWarning(
            "/loss/label_smoothing",
            "mostly_smoothed",
            f"A share of {spec.loss.label_smoothing:g} of each target tells nothing of the image; 0.1 is usual.",
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
