"""A training as one file that stands alone: no script, no file beside it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from sqlalchemy.orm import Session

from app import __version__, figures
from app.api.schemas import EnsembleView
from app.api.views import (
    ensemble_view,
    epoch_view,
    event_view,
    job_view,
    layer_statistics_view,
    snapshot_view,
)
from app.store import blobs, ensembles, events, jobs, layers, metrics, snapshots

MOST_EVENTS = 1000
NONE = "\N{EN DASH}"


def make(session: Session, job_id: str) -> str:
    """The page of a training. Raises `NotFound`."""
    job = job_view(session, jobs.get(session, job_id))
    epochs = [epoch_view(row) for row in metrics.epochs(session, job_id)]
    taken = [snapshot_view(one, blobs.size(session, one.sha256)) for one in snapshots.of_job(session, job_id)]
    statistics = [layer_statistics_view(row) for row in layers.of_job(session, job_id, None)]
    last = max((one.epoch for one in statistics), default=0)
    scored = _ensembles(session, job_id)
    return (
        _environment()
        .get_template("report.html")
        .render(
            job=job,
            epochs=epochs,
            curves=Markup(figures.curves(epochs)) if epochs else "",
            snapshots=taken,
            ensembles=[(one, _calibration(one)) for one in scored],
            layers=[one for one in statistics if one.epoch == last],
            layer_epoch=last,
            events=[event_view(one) for one in events.after(session, job_id, 0, MOST_EVENTS)],
            spec=yaml.safe_dump(job.spec, sort_keys=False, allow_unicode=True, width=100),
            provenance=taken[-1].provenance if taken else {},
            made_at=datetime.now(UTC),
        )
    )


def _ensembles(session: Session, job_id: str) -> Sequence[EnsembleView]:
    """That of the training, and those that were made of its snapshots alone, once they are scored."""
    own = ensembles.of_job(session, job_id)
    others = ensembles.made_of(session, job_id)
    found = [ensemble_view(session, one) for one in ([own] if own else []) + list(others)]
    return [one for one in found if one.scores and {member.job_id for member in one.members} == {job_id}]


def _calibration(ensemble: EnsembleView) -> Markup | str:
    report = ensemble.report
    return Markup(figures.reliability(report.calibration)) if report and report.calibration else ""


@cache
def _environment() -> Environment:
    loader = PackageLoader("app.web")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals |= {"version": __version__}
    made.filters |= {"percent": _percent, "figure": _figure}
    return made


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.2%}"


def _figure(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"
