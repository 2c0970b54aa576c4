"""What to predict of a whole data set, and as what kind of table."""

from typing import Literal

from pydantic import Field

from trainer.spec.model import Model
from trainer.spec.queued import DatasetName, Queued, sha256_of

PredictedSplit = Literal["train", "validation", "test"]


class PredictionSpec(Queued):
    """One table: a row for each image of a data set, in its order."""

    name: str = Field(default="predictions", min_length=1, max_length=200, description="Shown in lists.")
    dataset: DatasetName = Field(description="The images: of the size that the model takes; classes may be others.")
    splits: tuple[PredictedSplit, ...] | None = Field(
        default=None, min_length=1, max_length=3, description="Which of them, in this order; left out: all."
    )
    format: Literal["csv", "parquet"] = Field(default="csv", description="What kind of file.")
    probabilities: bool = Field(
        default=True, description="A column for each class. A majority vote has none, whatever is asked."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where members are run; `auto`: a GPU where the worker has one, else the CPU."
    )


class ResolvedPrediction(PredictionSpec):
    """The same with the networks that predict, as they were when it was asked for."""

    model: Model

    @property
    def sha256(self) -> str:
        """Hash of all that determines the table."""
        return sha256_of(self)
