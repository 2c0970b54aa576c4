"""What may be asked for when data is imported."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.spec.part import Part

Side = Annotated[int, Field(ge=1, le=65_536)]


class GivenSplit(Part):
    """The splits that the source has; it must have one to train on and one to validate or test on."""

    kind: Literal["given"]


class StratifiedSplit(Part):
    """Validation images, and test images if wanted, drawn from what the source has to train on, class by class.

    Within a class images are taken in the order of SHA-256 of seed and path, or place where there are no paths. How
    many is exact over the whole by the largest remainder (Hamilton 1792).
    """

    kind: Literal["stratified"]
    validation: float = Field(gt=0, lt=1, description="Share of the images that validate.")
    test: float = Field(default=0, ge=0, lt=1, description="Share of the images that test; 0 makes no test split.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Another seed draws other images.")


SplitRule = Annotated[GivenSplit | StratifiedSplit, Field(discriminator="kind")]

Fit = Literal["crop", "pad", "stretch"]
Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Format = Literal["class_folders", "table", "arrays", "idx", "cifar"]


class ImportOptions(Part):
    """How a data set is made of what was given. What is left out is as the data has it, or refused where it differs."""

    format: Format | None = Field(
        default=None, description="What the source is, where that cannot be told from its files. Left out: found out."
    )
    split: SplitRule = Field(default=GivenSplit(kind="given"), description="Where the validation images come from.")
    size: tuple[Side, Side] | None = Field(
        default=None,
        description="Height and width in pixels of every packed image. Left out: they are all of one size.",
    )
    fit: Fit = Field(
        default="crop",
        description="What an image of another shape loses or gains: `crop` resizes the shorter side and cuts the "
        "longer around the centre, `pad` resizes the longer side and surrounds with black, `stretch` resizes both.",
    )
    filter: Filter = Field(
        default="bilinear", description="How pixels are averaged where images are resized; Pillow's names."
    )
    channels: Literal[1, 3] | None = Field(
        default=None,
        description="1 makes all images grey by ITU-R 601-2, 3 makes all RGB. Left out: they are all of one kind.",
    )
    classes: tuple[str, ...] | None = Field(
        default=None, description="Names of the classes in the order of their numbers, where the source has none."
    )
    licence: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Under which the images may be used, for model cards; no part of the data set's id.",
    )
    skip_unreadable: bool = Field(
        default=False, description="Leave out images that cannot be read and keep the list, instead of refusing all."
    )
