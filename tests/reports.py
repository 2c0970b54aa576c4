"""What a scoring finds, without any scoring."""

from collections.abc import Sequence

from app.store.ensembles import MeasuredEnsemble
from trainer.events import Scores, VoteScores
from trainer.report import Bin, Calibration, ClassReport, Diversity, Gain, Interval, MemberReport, Report

NOTHING = Interval(estimate=0.0, low=0.0, high=0.0)


def measured(ids: Sequence[str], shares: Sequence[float]) -> MeasuredEnsemble:
    """Of snapshots in order: the ensemble errs on 5%, each member alone on 10%."""
    members = tuple(
        MemberReport(
            snapshot_id=id,
            share=share,
            accuracy=0.9,
            error=0.1,
            negative_log_likelihood=0.3,
            brier=0.2,
            expected_calibration_error=0.04,
        )
        for id, share in zip(ids, shares, strict=True)
    )
    chosen = tuple(place for place, share in enumerate(shares) if share)
    report = Report(
        split="validation",
        images=1000,
        accuracy=0.95,
        error=0.05,
        negative_log_likelihood=0.2,
        brier=0.1,
        top_k=(),
        calibration=Calibration(
            expected_calibration_error=0.01,
            bins=(
                Bin(lower=0.0, upper=0.5, count=0, confidence=None, accuracy=None),
                Bin(lower=0.5, upper=1.0, count=1000, confidence=0.96, accuracy=0.95),
            ),
        ),
        confusion=((590, 10), (40, 360)),
        classes=(
            ClassReport(name="even", count=600, precision=590 / 630, recall=590 / 600, f1=1180 / 1230),
            ClassReport(name="odd", count=400, precision=360 / 370, recall=0.9, f1=720 / 770),
        ),
        members=members,
        diversity=Diversity(
            chosen=chosen, disagreement=(), mean_disagreement=None, q_statistic=(), mean_q_statistic=None
        ),
        gain=Gain(best_member=0, error=NOTHING, negative_log_likelihood=NOTHING, confidence=0.95, draws=100),
        growth=(),
        selection=None,
        temperature=None,
    )
    return MeasuredEnsemble(shares, report.model_dump(mode="json"), Scores(0.94, 0.06, 0.21), VoteScores(0.93, 0.07))
