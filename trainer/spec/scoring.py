"""What ensemble to make of snapshots that there are, and how to score it."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.spec.part import Part
from trainer.spec.queued import DatasetName, Id, Queued, sha256_of
from trainer.spec.training import LARGEST_EXACT_INTEGER

MOST_MEMBERS = 100
"""How many snapshots an ensemble may be chosen from: each is a network that is run over the splits."""

ScoredSplit = Literal["train", "validation", "validation/a", "validation/b", "test"]
HeldOut = Literal["validation", "validation/a", "validation/b"]
"""Halves are of the validation split: each has half of the images of every class, give or take one, by `split_seed`."""

Metric = Literal["error", "negative_log_likelihood"]


class NamedSnapshots(Part):
    """Snapshots by their ids, in this order."""

    kind: Literal["snapshots"]
    ids: tuple[Id, ...] = Field(min_length=1, max_length=MOST_MEMBERS, description="Each once.")


class SnapshotsOfJobs(Part):
    """Snapshots of finished jobs, those of the first job first, each job's oldest first."""

    kind: Literal["jobs"]
    ids: tuple[Id, ...] = Field(min_length=1, max_length=MOST_MEMBERS, description="Trainings, each once.")
    last: int | None = Field(
        default=None, ge=1, le=MOST_MEMBERS, description="How many of each job's newest; left out: all that it has."
    )


class SelectAll(Part):
    """Every member, in equal shares or in given ones."""

    kind: Literal["all"]
    weights: tuple[Annotated[float, Field(gt=0, le=1e6)], ...] | None = Field(
        default=None,
        max_length=MOST_MEMBERS,
        description="One for each member, in their order; a member's share is its weight over the sum of all.",
    )


class SelectBest(Part):
    """The best few, each judged alone, in equal shares."""

    kind: Literal["best"]
    count: int = Field(ge=1, le=MOST_MEMBERS, description="How many are taken.")
    by: Metric = Field(default="negative_log_likelihood", description="What they are judged by; the lowest are taken.")
    on: HeldOut = Field(
        default="validation/a", description="The images that they are judged by: not those of the score."
    )


class SelectGreedy(Part):
    """One after another, each time the member that helps the ensemble most (Caruana 2004).

    A member may be taken several times, and its share is how often it was. Of all sizes on the way, that with the best
    score is kept, the smallest of equals.
    """

    kind: Literal["greedy"]
    count: int = Field(default=30, ge=1, le=1_000, description="How often a member is taken at most.")
    by: Metric = Field(default="negative_log_likelihood", description="What is to become as low as can be.")
    on: HeldOut = Field(default="validation/a", description="The images that it is judged by: not those of the score.")


Members = Annotated[NamedSnapshots | SnapshotsOfJobs, Field(discriminator="kind")]
Selection = Annotated[SelectAll | SelectBest | SelectGreedy, Field(discriminator="kind")]


class TemperatureScaling(Part):
    """Divide the logarithms of the combined probabilities by one number, then normalise again (Guo 2017).

    The number is the one with the lowest negative log-likelihood. It changes no prediction, only how sure it is.
    """

    on: HeldOut = Field(default="validation/a", description="The images that it is fitted on: not those of the score.")


class Bootstrap(Part):
    """Intervals of gains: percentiles of the means over images that are drawn again with replacement (Efron 1979)."""

    draws: int = Field(default=1_000, ge=100, le=10_000, description="How often as many images are drawn as there are.")
    confidence: float = Field(default=0.95, ge=0.5, le=0.999, description="How often an interval is to be right.")
    seed: int = Field(default=0, ge=0, le=LARGEST_EXACT_INTEGER, description="Same seed, same interval.")


class ScoringSpec(Queued):
    """One ensemble: what it is chosen from, how it predicts, and what it is scored on."""

    name: str = Field(min_length=1, max_length=200, description="Shown in lists; need not be unique.")
    members: Members = Field(description="The snapshots that it is made of, or chosen from.")
    select: Selection = Field(default=SelectAll(kind="all"), description="Which of them, and in what shares.")
    combine: Literal["mean", "geometric_mean", "majority_vote"] = Field(
        default="mean",
        description="What becomes of the members' predictions: the mean of their probabilities; the geometric mean, "
        "normalised; or the class that most vote for, of equals the one with the largest sum of probabilities.",
    )
    dataset: DatasetName | None = Field(
        default=None, description="What it is scored on; left out: what all members were trained on."
    )
    score_on: ScoredSplit | None = Field(
        default=None,
        description="The images that it is scored on; left out: `validation`, or `validation/b` where something is "
        "fitted on `validation/a`.",
    )
    split_seed: int = Field(
        default=0, ge=0, le=LARGEST_EXACT_INTEGER, description="Which images are in which half of the validation split."
    )
    temperature: TemperatureScaling | None = Field(default=None, description="Left out: probabilities as they are.")
    bootstrap: Bootstrap = Field(default=Bootstrap(), description="How intervals of gains are found.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where members are run; `auto`: a GPU where the worker has one, else the CPU."
    )

    @property
    def fitted_on(self) -> dict[str, HeldOut]:
        """Where something is fitted, by the JSON Pointer of the split that it names."""
        places: dict[str, HeldOut] = {}
        if isinstance(self.select, SelectBest | SelectGreedy):
            places["/select/on"] = self.select.on
        if self.temperature:
            places["/temperature/on"] = self.temperature.on
        return places

    @property
    def scored_on(self) -> ScoredSplit:
        """`score_on`, or what stands for it where it is left out."""
        if self.score_on:
            return self.score_on
        return "validation/b" if "validation/a" in self.fitted_on.values() else "validation"

    @property
    def sha256(self) -> str:
        """Hash of all that determines the ensemble and its scores, but for what its members are."""
        return sha256_of(self)
