"""How weights start."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.spec.part import Part


class ConstantInitialization(Part):
    """Every weight equal. Kept because seeing it fail is the lesson: units of a layer stay identical."""

    kind: Literal["constant"]
    value: float = Field(default=0.01, ge=-10, le=10, description="The weight.")


class SmallRandomInitialization(Part):
    """Normal with mean 0 and a fixed standard deviation, whatever the layer's size."""

    kind: Literal["small_random"]
    std: float = Field(default=0.01, gt=0, le=10, description="Standard deviation of the weights.")


class XavierInitialization(Part):
    """Variance 1 / fan_in, or 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""

    kind: Literal["xavier"]
    distribution: Literal["normal", "uniform"] = Field(default="normal", description="Shape of the draw.")
    fan: Literal["in", "average"] = Field(
        default="average", description="`in`: variance 1 / fan_in; `average`: 2 / (fan_in + fan_out)."
    )


class HeInitialization(Part):
    """Variance 2 / fan_in, for layers before a ReLU (He 2015)."""

    kind: Literal["he"]
    distribution: Literal["normal", "uniform"] = Field(default="normal", description="Shape of the draw.")


class OrthogonalInitialization(Part):
    """`W Wᵀ`, or `Wᵀ W` where a layer has more units than inputs, is the identity times gain² (Saxe 2013).

    Weights of a convolution are taken as one row a channel, of all that its kernel sees.
    """

    kind: Literal["orthogonal"]
    gain: float = Field(
        default=1.0, gt=0, le=100, description="Factor of the weights; 1.414 makes up for what relu sets to zero."
    )


class RandomWalkInitialization(Part):
    """Normal with std gain / sqrt(fan_in): the log of the back-propagated norm is an unbiased random walk over layers.

    With N = fan_in the gain is sqrt(2) * exp(1.2 / (max(N, 6) - 2.4)) in networks of ReLUs and exp(1 / (2 N)) in those
    without any nonlinearity (Sussillo and Abbott 2014).
    """

    kind: Literal["random_walk"]
    gain: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="The gain of every layer. Left out: that of the formulae; no other nonlinearity has one, and for "
        "tanh the paper finds 1.1 to 1.3 good.",
    )


class FromImages(Part):
    """What initializations that look at images take: the first of the training split, preprocessed, unaugmented."""

    images: int = Field(
        default=128, ge=2, le=4_096, description="How many images are looked at; one alone would have no variance."
    )


class LsuvInitialization(FromImages):
    """Orthogonal, then layer by layer scaled until the variance of its outputs is 1 (Mishkin and Matas 2015)."""

    kind: Literal["lsuv"]
    tolerance: float = Field(
        default=0.01, ge=1e-4, lt=1, description="How far from 1 the variance of a layer's outputs may end."
    )
    max_iterations: int = Field(default=10, ge=1, le=100, description="After how many scalings a layer is left.")


class DataDependentInitialization(FromImages):
    """Normal, then each channel's outputs brought to mean 0 and standard deviation 1, then layers to equal paces.

    The pace of a layer is the root mean square of its weights' gradients over that of its weights. Whole layers are
    scaled until paces are equal, which leaves means at 0 (Krähenbühl 2015, algorithms 1 and 2).
    """

    kind: Literal["data_dependent"]
    between_layers: bool = Field(
        default=True, description="Even out the layers' paces; false leaves every channel at standard deviation 1."
    )


class FixupInitialization(Part):
    """Residual networks without normalisation (Zhang 2019).

    He, but in each of L branches of m weighted layers all but the last times L ** (-1 / (2 m - 2)) and the last zero,
    as is the output layer. The network gets a scalar multiplier, 1 at first, at the end of every branch, and a scalar
    bias, 0 at first, before every convolution, linear layer and nonlinearity.
    """

    kind: Literal["fixup"]


Initialization = Annotated[
    ConstantInitialization
    | SmallRandomInitialization
    | XavierInitialization
    | HeInitialization
    | OrthogonalInitialization
    | RandomWalkInitialization
    | LsuvInitialization
    | DataDependentInitialization
    | FixupInitialization,
    Field(discriminator="kind"),
]
