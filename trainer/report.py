"""What scoring an ensemble finds: shares in [0, 1], likelihoods in nats, classes and members counted from 0.

Whatever cannot be said is null: a likelihood of votes, the precision of a class that is never predicted.
"""

from pydantic import BaseModel, ConfigDict, Field

from trainer.spec.scoring import HeldOut, Metric, ScoredSplit


class Figures(BaseModel):
    """Part of a report."""

    model_config = ConfigDict(frozen=True)


class MemberReport(Figures):
    """A snapshot that the ensemble was chosen from, when it stands alone."""

    snapshot_id: str
    share: float = Field(description="Of its predictions in the ensemble's; 0 where it was not chosen.")
    accuracy: float
    error: float
    negative_log_likelihood: float
    brier: float
    expected_calibration_error: float


class TopK(Figures):
    """How often the right class is among the `k` likeliest."""

    k: int
    accuracy: float


class Bin(Figures):
    """Images whose likeliest class has a probability in `(lower, upper]`."""

    lower: float
    upper: float
    count: int
    confidence: float | None = Field(description="Their mean probability; null without images.")
    accuracy: float | None


class Calibration(Figures):
    """A reliability diagram (Guo 2017): were the probabilities true, confidence would be accuracy in each bin."""

    expected_calibration_error: float = Field(
        description="Mean distance of accuracy from confidence over all bins, each counted by its images."
    )
    bins: tuple[Bin, ...] = Field(description="Of equal widths, from 0 to 1.")


class ClassReport(Figures):
    """How well one class is told from all others."""

    name: str
    count: int = Field(description="Images of this class.")
    precision: float | None = Field(description="Of what is predicted to be it, the share that is.")
    recall: float | None = Field(description="Of what is it, the share that is predicted to be.")
    f1: float | None = Field(description="Harmonic mean of both.")


class Diversity(Figures):
    """How differently two members predict, by row and column in the order of `chosen`."""

    chosen: tuple[int, ...] = Field(description="Places in `members` of those with a share.")
    disagreement: tuple[tuple[float, ...], ...] = Field(description="Share of images that they see as other classes.")
    mean_disagreement: float | None = Field(description="Over all pairs; null of a single member.")
    q_statistic: tuple[tuple[float | None, ...], ...] = Field(
        description="Yule's Q of being right (Kuncheva 2003): 1 where both err on the same images, 0 where their "
        "errors have nothing to do with each other, negative where one is right when the other errs."
    )
    mean_q_statistic: float | None = Field(description="Over all pairs that have one.")


class Interval(Figures):
    """By how much the ensemble is lower than the best member, with the ends of its bootstrap interval."""

    estimate: float
    low: float
    high: float


class Gain(Figures):
    """The ensemble against the best member: above 0 it is better. Images are paired."""

    best_member: int = Field(description="Place in `members` of the one with the lowest error on these very images.")
    error: Interval
    negative_log_likelihood: Interval | None
    confidence: float
    draws: int


class GrowthPoint(Figures):
    """The first so many members together, in their shares, without temperature."""

    members: int
    added: int = Field(description="Place in `members` of the last one; after greedy selection one may come again.")
    error: float
    negative_log_likelihood: float | None


class SelectionReport(Figures):
    """How the members were chosen."""

    on: HeldOut
    by: Metric
    path: tuple[int, ...] = Field(description="Places in `members`, in the order in which they were taken.")
    scores: tuple[float, ...] = Field(
        description="On `on`: of the ensemble after each step of greedy selection, else of each member alone."
    )


class TemperatureReport(Figures):
    """What the probabilities were scaled by, and what they score as they were."""

    value: float = Field(description="Above 1 it makes less sure.")
    on: HeldOut
    unscaled_negative_log_likelihood: float
    unscaled_brier: float
    unscaled_expected_calibration_error: float


class Report(Figures):
    """All that is known of an ensemble on one split."""

    split: ScoredSplit
    images: int
    accuracy: float
    error: float
    negative_log_likelihood: float | None
    brier: float | None = Field(description="Mean over images of the squared distance of probabilities from the truth.")
    top_k: tuple[TopK, ...] = Field(description="Empty of votes.")
    calibration: Calibration | None
    confusion: tuple[tuple[int, ...], ...] = Field(
        description="Images of the row's class that are seen as the column's."
    )
    classes: tuple[ClassReport, ...]
    members: tuple[MemberReport, ...] = Field(description="All that it was chosen from, in the order of the request.")
    diversity: Diversity
    gain: Gain
    growth: tuple[GrowthPoint, ...]
    selection: SelectionReport | None
    temperature: TemperatureReport | None
