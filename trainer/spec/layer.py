"""What layers take in networks of every family and in a user's own list."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.spec.part import Part

Width = Annotated[int, Field(ge=1, le=65_536)]
Channels = Annotated[int, Field(ge=1, le=8_192)]
LayerName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z][a-z0-9_]*$")]
LayerPath = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$")]
ActivationFunction = Literal["relu", "tanh", "sigmoid"]


class BatchNormPart(Part):
    """Normalise each channel by its batch statistics; running averages at test (Ioffe and Szegedy 2015)."""

    epsilon: float = Field(default=1.0e-5, gt=0, le=1, description="Added to the variance.")
    momentum: float = Field(default=0.1, gt=0, le=1, description="Weight of the newest batch in the running averages.")


class DropoutPart(Part):
    """Set units to zero at random in training (Srivastava 2014)."""

    drop: float = Field(
        ge=0,
        lt=1,
        description="Probability of setting a unit to zero. (The literature uses p both for this and for its "
        "opposite, the probability of keeping a unit.)",
    )
    form: Literal["inverted", "classic"] = Field(
        default="inverted",
        description="`inverted`: divide by 1 - drop while training; `classic`: multiply by 1 - drop at test.",
    )
