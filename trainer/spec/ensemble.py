"""What is scored at the end, beside the last model: combined predictions or averaged weights."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.spec.part import Part


class NoEnsemble(Part):
    """One model: the weights at the end of training."""

    kind: Literal["none"]


class SnapshotEnsemble(Part):
    """Average the predicted probabilities of the last snapshots of a cyclic schedule (Huang 2017)."""

    kind: Literal["snapshots"]
    last: int = Field(ge=1, le=1_000, description="How many of the newest snapshots are averaged.")


class IndependentEnsemble(Part):
    """Average the predicted probabilities of models trained one after another from different seeds.

    Each member is trained for the spec's `epochs`, by a schedule that starts anew. The first has the spec's seed, the
    others seeds that are functions of it and of their number; each snapshot's provenance has its member's. A spec with
    such a seed and no ensemble gives the same weights. Epochs and steps are counted through: those of the second
    member follow the last of the first.
    """

    kind: Literal["independent"]
    members: int = Field(ge=2, le=100, description="Models that are trained; the work is so many times that of one.")


class StochasticWeightAveraging(Part):
    """Average the weights at the ends of epochs, in equal shares: one model, SWA (Izmailov 2018).

    The statistics of batch norm are then computed anew for the averaged weights: the mean over the batches of one more
    epoch, as training would have seen it, each batch counted by its images.
    """

    kind: Literal["swa"]
    start: int = Field(ge=1, le=10_000, description="The epoch, counted from 1, at whose end the average begins.")
    every: int = Field(default=1, ge=1, le=10_000, description="Epochs between two sets of weights in the average.")

    def averaged(self, epochs: int) -> range:
        """The epochs, counted from 1, of a training of `epochs` at whose ends weights go into the average."""
        return range(self.start, epochs + 1, self.every)


class ExponentialMovingAverage(Part):
    """Average the weights over all steps, the newest counted most: `s = decay * s + (1 - decay) * x` after each update.

    `s` starts as the initial weights (Polyak and Juditsky 1992, in exponential form). The statistics of batch norm are
    computed anew as for `swa`.
    """

    kind: Literal["ema"]
    decay: float = Field(default=0.999, gt=0, lt=1, description="Share of the average that each step keeps.")


WeightAveraging = StochasticWeightAveraging | ExponentialMovingAverage
Ensemble = Annotated[NoEnsemble | SnapshotEnsemble | IndependentEnsemble | WeightAveraging, Field(discriminator="kind")]
