"""`dataset.json`: all that is known of a pack without its images."""

from typing import Literal

from pydantic import Field

from trainer.data import DataFacts
from trainer.datasets.options import ImportOptions
from trainer.spec.part import Part

VERSION: Literal["annealer-pack/1"] = "annealer-pack/1"

SplitName = Literal["train", "validation", "test"]


class Note(Part):
    """Something strange that did not stop the import."""

    code: str = Field(description="A stable word for programs.")
    detail: str = Field(description="A sentence for people.")
    entries: tuple[str, ...] = Field(default=(), description="The first files or classes that it is about.")
    count: int = Field(default=0, ge=0, description="How many it is about.")


class SplitFacts(Part):
    """One split."""

    count: int = Field(ge=1, description="Images.")
    per_class: tuple[int, ...] = Field(description="Images of each class, in the order of `classes`.")


class Splits(Part):
    """The splits that there are."""

    train: SplitFacts
    validation: SplitFacts
    test: SplitFacts | None = None


class Origin(Part):
    """How a pack was made."""

    source: str = Field(description="The name of the file or folder, without the folders above it.")
    container: str = Field(description="folder, zip or tar.")
    format: str = Field(description="What it was found to be, in the words of `ImportOptions.format`.")
    options: ImportOptions = Field(description="What was asked for.")
    versions: dict[str, str] = Field(description="Of the libraries that decoded and resized.")


class Manifest(Part):
    """`dataset.json`."""

    version: Literal["annealer-pack/1"] = Field(description="The format of the pack.")
    name: str = Field(description="What people call it; no part of the hash.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Hash of the content, as `trainer.data.content_hash`.")
    classes: tuple[str, ...] = Field(min_length=2, description="Label names in the order of their numbers.")
    channels: int = Field(ge=1)
    height: int = Field(ge=1, description="Pixels.")
    width: int = Field(ge=1, description="Pixels.")
    splits: Splits
    mean: tuple[float, ...] = Field(description="Of each channel over the training split, pixels from 0 to 255.")
    std: tuple[float, ...] = Field(description="Of each channel over the training split, pixels from 0 to 255.")
    origin: Origin
    warnings: tuple[Note, ...] = Field(default=(), description="What is strange, and what was left out.")

    @property
    def facts(self) -> DataFacts:
        """What a spec is checked against."""
        return DataFacts(
            name=self.name,
            sha256=self.sha256,
            channels=self.channels,
            height=self.height,
            width=self.width,
            classes=self.classes,
            train_count=self.splits.train.count,
            validation_count=self.splits.validation.count,
            test_count=self.splits.test.count if self.splits.test else 0,
        )
