"""What is minimised, beside penalties."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.spec.part import Part


class CrossEntropy(Part):
    """`-sum_k y_k log p_k` in nats, averaged over the batch, for targets `y` and predicted distributions `p`.

    Validation is always scored against the labels themselves.
    """

    kind: Literal["cross_entropy"]
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="`e` in `y = (1 - e) * target + e / K`, with K classes (Szegedy 2016). The training loss that is "
        "reported is the smoothed one.",
    )


Loss = Annotated[CrossEntropy, Field(discriminator="kind")]
