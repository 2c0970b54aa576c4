"""The learning rate over the training."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.spec.part import Part


class Warmup(Part):
    """The rate rises to the schedule's first one: `a = a0 * (start + (1 - start) * t / epochs)` for `t < epochs`."""

    kind: Literal["linear"] = Field(default="linear", description="How the rate rises.")
    epochs: float = Field(gt=0, le=10_000, description="Length, in epochs; they are part of the training's.")
    start: float = Field(default=0.0, ge=0, lt=1, description="Rate of the first step, as a share of `a0`.")


class SchedulePart(Part):
    """The clock `t` of every schedule counts epochs, in fractions, from 0 at its first step to `T` at its end.

    The first step is the training's, or the first after the warm-up; `T` is what is left of the training then.
    """

    learning_rate: float = Field(gt=0, le=1_000, description="Learning rate at the start, `a0`.")
    warmup: Warmup | None = Field(
        default=None, description="Comes before the schedule, whose clock starts after it; left out: none."
    )
    clock: Literal["step", "epoch"] = Field(
        default="step",
        description="`step`: the rate changes with every step; `epoch`: it stays through each epoch as it is at the "
        "epoch's start.",
    )


class ConstantSchedule(SchedulePart):
    """`a = a0`."""

    kind: Literal["constant"]


class StepSchedule(SchedulePart):
    """`a = a0 * factor ** floor(t / every)`."""

    kind: Literal["step"]
    factor: float = Field(default=0.1, gt=0, lt=1, description="What the rate is multiplied by.")
    every: int = Field(ge=1, le=10_000, description="Epochs between two decays.")


class MultiStepSchedule(SchedulePart):
    """`a = a0 * factor ** n`, where n of the listed epochs are over: those with `epoch <= t`."""

    kind: Literal["multistep"]
    factor: float = Field(default=0.1, gt=0, lt=1, description="What the rate is multiplied by.")
    after: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field(
        min_length=1, max_length=1_000, description="The numbers of epochs after which the rate falls, ascending."
    )


class ExponentialSchedule(SchedulePart):
    """`a = a0 * exp(-k * t)`."""

    kind: Literal["exponential"]
    k: float = Field(gt=0, le=100, description="Decay per epoch.")


class InverseTimeSchedule(SchedulePart):
    """`a = a0 / (1 + k * t)`."""

    kind: Literal["inverse_time"]
    k: float = Field(gt=0, le=1_000, description="Decay per epoch.")


class PolynomialSchedule(SchedulePart):
    """`a = minimum + (a0 - minimum) * (1 - t / T) ** power`."""

    kind: Literal["polynomial"]
    power: float = Field(default=2.0, gt=0, le=100, description="Above 1 the rate falls quickly first, below 1 last.")
    minimum: float = Field(default=0.0, ge=0, le=1_000, description="Learning rate at the end.")


class LinearSchedule(SchedulePart):
    """`a = minimum + (a0 - minimum) * (1 - t / T)`."""

    kind: Literal["linear"]
    minimum: float = Field(default=0.0, ge=0, le=1_000, description="Learning rate at the end.")


class CosineSchedule(SchedulePart):
    """One half-cosine over the whole training, from `a0` to `minimum`."""

    kind: Literal["cosine"]
    minimum: float = Field(default=0.0, ge=0, le=1_000, description="Learning rate at the end.")


class CosineRestarts(SchedulePart):
    """Half-cosines from `a0` to `minimum`, each followed by a restart at `a0` (SGDR, Loshchilov and Hutter 2016).

    `a = minimum + (a0 - minimum) / 2 * (cos(pi * u / U) + 1)`, u epochs into a cycle of U. A snapshot is taken at
    the end of each cycle, where the rate is lowest, and at the end of the training.
    """

    kind: Literal["cosine_restarts"]
    first: int = Field(ge=1, le=10_000, description="Epochs of the first cycle, T_0.")
    factor: int = Field(default=1, ge=1, le=100, description="Each cycle is so many times as long as the last, T_mult.")
    minimum: float = Field(default=0.0, ge=0, le=1_000, description="Learning rate at the end of a cycle.")


class SnapshotCycles(SchedulePart):
    """`a = a0 / 2 * (cos(pi * mod(t, T / M) / (T / M)) + 1)`: M equal cycles in T epochs (Huang 2017).

    A snapshot is taken at the end of each cycle, where the rate is lowest.
    """

    kind: Literal["snapshot_cycles"]
    cycles: int = Field(ge=1, le=1_000, description="Number of cycles M; must divide the number of epochs.")


class TriangularSchedule(SchedulePart):
    """`a = a0 + (maximum - a0) * (1 - abs(mod(t / half, 2) - 1))`: up for `half` epochs, then down (Smith 2017)."""

    kind: Literal["triangular"]
    maximum: float = Field(gt=0, le=1_000, description="Learning rate at the peaks.")
    half: float = Field(gt=0, le=10_000, description="Epochs from `a0` to the peak, half of a cycle.")


class OneCycleSchedule(SchedulePart):
    """One rise and one longer fall, both half-cosines, over the whole training (Smith 2018). Momentum stays as it is.

    `a = a0 + (maximum - a0) / 2 * (1 - cos(pi * t / R))` for `t < R = rise * T`, then
    `a = minimum + (maximum - minimum) / 2 * (cos(pi * (t - R) / (T - R)) + 1)`.
    """

    kind: Literal["one_cycle"]
    maximum: float = Field(gt=0, le=1_000, description="Learning rate at the peak.")
    rise: float = Field(default=0.3, gt=0, lt=1, description="Share of the training before the peak.")
    minimum: float = Field(default=0.0, ge=0, le=1_000, description="Learning rate at the end.")


class PlateauSchedule(SchedulePart):
    """`a = max(minimum, a0 * factor ** n)`: n grows after `patience` epochs in a row without improvement.

    An epoch improves when its validation loss is below `(1 - threshold)` times the best so far. Epochs of the
    warm-up are not counted. The rate depends on the training: a preview shows where it starts.
    """

    kind: Literal["plateau"]
    factor: float = Field(default=0.1, gt=0, lt=1, description="What the rate is multiplied by.")
    patience: int = Field(default=5, ge=1, le=10_000, description="Epochs without improvement before the rate falls.")
    threshold: float = Field(default=1.0e-4, ge=0, lt=1, description="Smallest improvement, as a share of the loss.")
    minimum: float = Field(default=0.0, ge=0, le=1_000, description="Lowest learning rate.")


Schedule = Annotated[
    ConstantSchedule
    | StepSchedule
    | MultiStepSchedule
    | ExponentialSchedule
    | InverseTimeSchedule
    | PolynomialSchedule
    | LinearSchedule
    | CosineSchedule
    | CosineRestarts
    | SnapshotCycles
    | TriangularSchedule
    | OneCycleSchedule
    | PlateauSchedule,
    Field(discriminator="kind"),
]
