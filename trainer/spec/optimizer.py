"""How weights are updated."""

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field

from trainer.spec.part import Part


class NoMomentum(Part):
    """`x -= a * dx`."""

    form: Literal["none"]


class AveragedMomentum(Part):
    """`v = (1 - b) * v + b * dx; x -= a * v`: a running average of gradients."""

    form: Literal["averaged"]
    b: float = Field(default=0.1, gt=0, le=1, description="Weight of the newest gradient; 1 is plain SGD.")
    start: Literal["zero", "gradient"] = Field(
        default="zero",
        description="`v` before the first step: `zero` as the formula reads; `gradient` starts it at the first "
        "gradient, unscaled, as torch.optim.SGD does.",
    )


class ClassicalMomentum(Part):
    """`v = m * v + dx; x -= a * v` (Polyak 1964)."""

    form: Literal["classical"]
    m: float = Field(default=0.9, ge=0, lt=1, description="Share of the velocity that is kept.")


class NesterovMomentum(Part):
    """`v = m * v + dx; x -= a * (dx + m * v)` (Nesterov 1983; Sutskever 2013)."""

    form: Literal["nesterov"]
    m: float = Field(default=0.9, gt=0, lt=1, description="Share of the velocity that is kept.")


Momentum = Annotated[NoMomentum | AveragedMomentum | ClassicalMomentum | NesterovMomentum, Field(discriminator="form")]


class LayerRate(Part):
    """A learning rate of their own for some layers."""

    layers: str = Field(
        min_length=1,
        max_length=200,
        description="Name of a layer as in the layer table, or a pattern: `*` is any text, `?` any character, "
        "`[12]` one of these.",
    )
    factor: float = Field(
        ge=0,
        le=100,
        description="What the schedule's rate is multiplied by; 0 freezes: weights and biases keep their start.",
    )

    def names(self, layer: str) -> bool:
        """Whether this entry is for the layer of that name."""
        return fnmatchcase(layer, self.layers)


class OptimizerPart(Part):
    """What every optimizer takes."""

    layer_rates: tuple[LayerRate, ...] = Field(
        default=(),
        max_length=64,
        description="Layers that learn at another rate than the schedule's. The first entry that names a layer counts.",
    )

    def layer_factor(self, layer: str) -> float:
        """What the schedule's rate is multiplied by for the layer of that name."""
        return next((entry.factor for entry in self.layer_rates if entry.names(layer)), 1.0)


class Sgd(OptimizerPart):
    """Mini-batch stochastic gradient descent."""

    kind: Literal["sgd"]
    momentum: Momentum = Field(
        default=ClassicalMomentum(form="classical"), description="How gradients are accumulated."
    )


class AdaGrad(OptimizerPart):
    """`s += dx**2; x -= a * dx / (sqrt(s) + epsilon)`: torch.optim.Adagrad (Duchi 2011).

    Its own decay of the rate is left to the schedule: see `inverse_time`.
    """

    kind: Literal["adagrad"]
    start: float = Field(default=0.0, ge=0, le=1_000, description="`s` before the first step.")
    epsilon: float = Field(default=1.0e-10, gt=0, le=1, description="Keeps the division finite.")


class RmsProp(OptimizerPart):
    """`s = alpha * s + (1 - alpha) * dx**2; x -= a * dx / (sqrt(s) + epsilon)`: torch.optim.RMSprop (Hinton 2012)."""

    kind: Literal["rmsprop"]
    alpha: float = Field(default=0.99, ge=0, lt=1, description="Share of the average of squares that is kept.")
    epsilon: float = Field(default=1.0e-8, gt=0, le=1, description="Keeps the division finite.")
    momentum: float = Field(
        default=0.0, ge=0, lt=1, description="`v = momentum * v + dx / (sqrt(s) + epsilon); x -= a * v`; 0 for none."
    )
    centered: bool = Field(
        default=False,
        description="Divide by the estimated deviation: an average of gradients, squared, is taken off s.",
    )


class AdamPart(OptimizerPart):
    """What Adam and AdamW take."""

    beta1: float = Field(default=0.9, ge=0, lt=1, description="Share of the average of gradients that is kept.")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="Share of the average of squares that is kept.")
    epsilon: float = Field(default=1.0e-8, gt=0, le=1, description="Keeps the division finite.")
    amsgrad: bool = Field(
        default=False, description="Divide by the largest average of squares so far (Reddi, Kale and Kumar 2018)."
    )


class Adam(AdamPart):
    """torch.optim.Adam: `m = beta1 * m + (1 - beta1) * dx; s = beta2 * s + (1 - beta2) * dx**2` and, at step n,
    `x -= a * (m / (1 - beta1**n)) / (sqrt(s / (1 - beta2**n)) + epsilon)` (Kingma and Ba 2014).
    """

    kind: Literal["adam"]


class AdamW(AdamPart):
    """torch.optim.AdamW: Adam, and `x -= a * weight_decay * x` beside it (Loshchilov and Hutter 2019)."""

    kind: Literal["adamw"]
    weight_decay: float = Field(
        default=0.01,
        ge=0,
        le=10,
        description="Decoupled weight decay; biases and batch-norm parameters as in `regularization`.",
    )


Optimizer = Annotated[Sgd | AdaGrad | RmsProp | Adam | AdamW, Field(discriminator="kind")]
