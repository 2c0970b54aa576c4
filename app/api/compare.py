"""`/v1/compare`: trainings side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from app import comparison
from app.access import Caller
from app.api import documents
from app.api.deps import EngineOf, Reader
from app.api.schemas import (
    ComparedJobView,
    ComparedSeriesView,
    CompareView,
    DifferenceView,
    MeanIntervalView,
    RepetitionView,
)
from app.api.views import combined_scores, epoch_view
from app.errors import Problem
from app.store import ensembles, metrics
from app.store import jobs as stored
from app.store.engine import read
from app.store.errors import NotFound
from app.store.models import Ensemble, Epoch, Job
from app.store.states import Kind

router = APIRouter(prefix="/v1", tags=["jobs"])

SERIES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate")
FINAL = ("train_loss", "validation_loss", "validation_accuracy")


@router.get("/compare", summary="Compare trainings", responses=documents.problems(404, 422, 503))
def compare(
    caller: Reader,
    engine: EngineOf,
    jobs: Annotated[
        list[str],
        Query(min_length=2, max_length=20, description="Ids of trainings; repeat the parameter."),
    ],
    max_points: Annotated[int, Query(ge=2, le=10_000, description="Epochs of a series at most, evenly spaced.")] = 500,
) -> CompareView:
    """What their specs differ in, their epochs beside each other, their last figures, and means over seeds."""
    if len(set(jobs)) < len(jobs):
        places = [{"parameter": "jobs", "code": "repeated", "detail": "Name each job once."}]
        raise Problem(422, "request-invalid", "The query is not valid.", errors=places)
    with read(engine) as session:
        found = [_training(session, job_id, caller) for job_id in jobs]
        epochs = [metrics.epochs(session, job.id) for job in found]
        scored = [ensembles.of_job(session, job.id) for job in found]
    specs = [job.spec for job in found]
    figures = [_figures(rows, ensemble) for rows, ensemble in zip(epochs, scored, strict=True)]
    return CompareView(
        jobs=[_job(*one) for one in zip(found, epochs, scored, strict=True)],
        differences=[DifferenceView(**asdict(one)) for one in comparison.differences(specs)],
        series=_series(epochs, max_points),
        repetitions=[
            RepetitionView(
                jobs=[found[place].id for place in group],
                seeds=[specs[place]["seed"] for place in group],
                figures=_means([figures[place] for place in group]),
            )
            for group in comparison.alike_but_for_seed(specs)
        ],
    )


def _training(session: Session, job_id: str, caller: Caller) -> Job:
    job = stored.get(session, job_id)
    if caller.sees not in (None, job.owner) or job.kind is not Kind.TRAINING:
        raise NotFound("job", job_id)
    return job


def _job(job: Job, epochs: Sequence[Epoch], ensemble: Ensemble | None) -> ComparedJobView:
    best = min(epochs, key=lambda row: (row.validation_loss, row.epoch)) if epochs else None
    return ComparedJobView(
        id=job.id,
        name=job.name,
        status=job.status,
        seed=job.spec["seed"],
        last=epoch_view(epochs[-1]) if epochs else None,
        best=epoch_view(best) if best else None,
        seconds=sum(row.seconds for row in epochs),
        ensemble=combined_scores(ensemble) if ensemble else None,
    )


def _series(epochs: Sequence[Sequence[Epoch]], most: int) -> ComparedSeriesView:
    """The same epochs of all, with None where a job has not come so far."""
    last = max((rows[-1].epoch for rows in epochs if rows), default=0)
    count = min(last, most)
    shown = sorted({1 + round(place * (last - 1) / max(1, count - 1)) for place in range(count)})
    by_number = [{row.epoch: row for row in rows} for rows in epochs]
    return ComparedSeriesView(
        epochs=shown,
        **{name: [[getattr(rows.get(epoch), name, None) for epoch in shown] for rows in by_number] for name in SERIES},
    )


def _figures(epochs: Sequence[Epoch], ensemble: Ensemble | None) -> Mapping[str, float | None]:
    last = epochs[-1] if epochs else None
    return {name: getattr(last, name, None) for name in FINAL} | {
        "ensemble_error": ensemble.error if ensemble else None,
        "ensemble_negative_log_likelihood": ensemble.negative_log_likelihood if ensemble else None,
    }


def _means(figures: Sequence[Mapping[str, float | None]]) -> dict[str, MeanIntervalView]:
    """Of each figure that two jobs or more have."""
    found = {name: [value for one in figures if (value := one[name]) is not None] for name in figures[0]}
    return {
        name: MeanIntervalView(**asdict(comparison.mean_interval(values)))
        for name, values in found.items()
        if len(values) > 1
    }
