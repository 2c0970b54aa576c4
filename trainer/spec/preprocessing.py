"""What is done to every image, in training and after."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.spec.part import Part


class WhiteningPart(Part):
    """Turns and stretches centred and scaled images so that their covariance over the training split is the identity.

    With the covariance's eigenvectors as columns of `U` and its eigenvalues `L`, in falling order, an image, read as
    one vector, becomes `W (x - mean) / std`. Directions whose variance is not far above epsilon stay short of 1, and
    those without any variance stay at 0 over the training split (cs231n notes 2).
    """

    epsilon: float = Field(
        default=1.0e-5,
        gt=0,
        le=1_000,
        description="Added to each variance of the centred and scaled images before its root is taken. Small values "
        "whiten fully and amplify noise up to 1 / sqrt(epsilon) times; 0.1 is usual where images are few.",
    )


class ZcaWhitening(WhiteningPart):
    """`W = U diag(1 / sqrt(L + epsilon)) Uᵀ`: of all whitened images those closest to the images; still pictures."""

    kind: Literal["zca"]


class PcaWhitening(WhiteningPart):
    """`W = diag(1 / sqrt(L + epsilon)) Uᵀ`: components, the one of most variance first, in the shape of the image.

    Neighbours are no longer neighbours. Each eigenvector's entry of largest magnitude is positive.
    """

    kind: Literal["pca"]


Whitening = Annotated[ZcaWhitening | PcaWhitening, Field(discriminator="kind")]


class Preprocessing(Part):
    """Applied to every image, with statistics of the training split only (Krizhevsky 2012)."""

    centre: Literal["per_channel", "per_pixel", "none"] = Field(
        default="per_channel",
        description="What is subtracted: the mean of each channel, the mean image (AlexNet's), or nothing.",
    )
    scale: bool = Field(
        default=True,
        description="Divide each channel by its standard deviation over the training split.",
    )
    whitening: Whitening | None = Field(
        default=None,
        description="Done last, for small images; needs `centre: per_pixel`. Left out: none.",
    )
