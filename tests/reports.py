"""What a scoring finds, without any scoring."""

from collections.abc import Sequence

from app.store.ensembles import MeasuredEnsemble
from trainer.events import Scores, VoteScores
from trainer.report import Diversity, Gain, Interval, MemberReport, Report

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
        calibration=None,
        confusion=((1,),),
        classes=(),
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
