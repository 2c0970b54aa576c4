"""Random changes of training images."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.spec.part import Part


class RandomCrop(Part):
    """Pad with zeros on every side, then cut a window of the original size at a random place."""

    kind: Literal["random_crop"]
    padding: int = Field(ge=1, le=64, description="Width of the border of zeros, in pixels.")


class HorizontalFlip(Part):
    """Mirror left and right."""

    kind: Literal["horizontal_flip"]
    probability: float = Field(default=0.5, ge=0, le=1, description="Chance that an image is mirrored.")


class ColorJitter(Part):
    """Change each image's brightness, contrast, saturation and hue, in this order, then cut what leaves 0..255.

    With `u` drawn evenly from [-1, 1) for each image and strength, and `x` an image's values:
    brightness: `x = f * x`; contrast: `x = f * x + (1 - f) * m`, with `m` the mean of all values of the image;
    saturation: `x = f * x + (1 - f) * g`, with `g = 0.299 R + 0.587 G + 0.114 B` of each pixel (ITU-R BT.601); each
    with its own `f = 1 + strength * u`. Hue: each colour is rotated about the grey axis R = G = B by `strength * u`
    turns, of which one third takes red to green. Nothing is rounded.
    """

    kind: Literal["color_jitter"]
    brightness: float = Field(default=0.0, ge=0, le=1, description="Largest change of the factor from 1; 0: none.")
    contrast: float = Field(default=0.0, ge=0, le=1, description="Largest change of the factor from 1; 0: none.")
    saturation: float = Field(
        default=0.0, ge=0, le=1, description="Largest change of the factor from 1, for RGB images; 0: none."
    )
    hue: float = Field(default=0.0, ge=0, le=0.5, description="Largest rotation, in turns, for RGB images; 0: none.")


class PcaLighting(Part):
    """Add `[p1, p2, p3] [a1 l1, a2 l2, a3 l3]ᵀ` to every pixel of an RGB image (Krizhevsky 2012).

    `p` and `l` are the eigenvectors and eigenvalues of the covariance of the training split's pixels, with values
    from 0 to 1; the sum, times 255, is added to values from 0 to 255, which it may leave. Each image draws its own
    three `a` from a normal distribution with mean 0.
    """

    kind: Literal["pca_lighting"]
    std: float = Field(default=0.1, gt=0, le=10, description="Standard deviation of each `a`.")


class Cutout(Part):
    """Blank a square around a pixel drawn evenly from the image, cut at the border (DeVries and Taylor 2017).

    Around pixel `c` it takes rows, and columns, from `c - size // 2` to `c - size // 2 + size - 1`.
    """

    kind: Literal["cutout"]
    size: int = Field(ge=1, le=4_096, description="Side of the square, in pixels.")
    fill: Literal["mean", "black"] = Field(
        default="mean",
        description="`mean`: each channel's mean over the training split, rounded to a whole number, as in the paper; "
        "`black`: 0.",
    )


class Mixup(Part):
    """Train on `s * x + (1 - s) * x'` with the same mixture of the two images' targets (Zhang 2018).

    The partners `x'` are the batch in another order. One `s` is drawn for each batch, as in the paper's code: the
    larger of `b` and `1 - b` for a `b` from Beta(alpha, alpha), which leaves the pairs as they are and makes `x` the
    one that dominates. Comes last, so that each of a pair has been changed on its own. Training accuracy is
    against the labels of `x`.
    """

    kind: Literal["mixup"]
    alpha: float = Field(
        default=0.2, ge=0.01, le=100, description="Both parameters of the Beta distribution: small mixes little."
    )


ImageChange = RandomCrop | HorizontalFlip | ColorJitter | PcaLighting | Cutout
Augmentation = Annotated[ImageChange | Mixup, Field(discriminator="kind")]
