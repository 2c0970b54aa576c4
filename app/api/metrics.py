"""`/v1/jobs/{id}/metrics`: epochs and per-step series, as JSON or CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from app.api import documents
from app.api.deps import EngineOf, JobId, Reader
from app.api.schemas import EpochView, MetricsView, SeriesView
from app.api.views import epoch_view
from app.errors import Problem
from app.store import jobs, metrics
from app.store.engine import read

router = APIRouter(prefix="/v1", tags=["metrics"])

CSV = "text/csv"


@router.get(
    "/jobs/{job_id}/metrics",
    summary="What a training has measured",
    response_model=MetricsView,
    responses={
        200: {"content": {CSV: {"schema": {"type": "string"}}}},
        **documents.problems(404, 422, 503),
    },
)
def show(
    caller: Reader,
    job_id: JobId,
    engine: EngineOf,
    series: Annotated[
        list[str],
        Query(description="Names of series; all when left out. Repeat the parameter.", max_length=20),
    ] = [],  # noqa: B006
    from_step: Annotated[int, Query(ge=1, le=2**53)] = 1,
    to_step: Annotated[int | None, Query(ge=1, le=2**53, description="Inclusive.")] = None,
    max_points: Annotated[
        int,
        Query(
            ge=metrics.FEWEST_POINTS,
            le=100_000,
            description="Of each series; where there are more, extremes and both ends are kept.",
        ),
    ] = 1000,
    format: Annotated[
        Literal["json", "csv"],
        Query(description="`csv`: the table of epochs, or, with one `series`, its points."),
    ] = "json",
) -> Response:
    """The epochs' rows, and each per-step series in at most `max_points` points."""
    with read(engine) as session:
        jobs.get(session, job_id)
        names = _names(session, job_id, series)
        if format == "csv" and len(series) > 1:
            raise _bad_series("CSV holds one series at a time.")
        if format == "csv" and not series:
            rows = [epoch_view(epoch).model_dump() for epoch in metrics.epochs(session, job_id)]
            return _csv(list(EpochView.model_fields), (row.values() for row in rows))
        found = {
            name: metrics.series(session, job_id, name, from_step=from_step, to_step=to_step, max_points=max_points)
            for name in names
        }
        epochs = [epoch_view(epoch) for epoch in metrics.epochs(session, job_id)]
    if format == "csv":
        ((name, points),) = found.items()
        steps = (int(step) for step in points.steps)
        return _csv(["step", name], zip(steps, points.values.tolist(), strict=True))
    views = {
        name: SeriesView(steps=[int(step) for step in points.steps], values=points.values.tolist(), count=points.count)
        for name, points in found.items()
    }
    return JSONResponse(MetricsView(epochs=epochs, series=views).model_dump(mode="json"))


def _names(session: Session, job_id: str, asked: Sequence[str]) -> Sequence[str]:
    known = metrics.names(session, job_id)
    unknown = [name for name in asked if name not in known]
    if unknown:
        there = f"There is {', '.join(known)}." if known else "There is none yet."
        raise _bad_series(f"The job has no series {', '.join(unknown)}. {there}")
    return list(dict.fromkeys(asked)) or known


def _bad_series(detail: str) -> Problem:
    place = {"parameter": "series", "code": "invalid", "detail": detail}
    return Problem(422, "request-invalid", "The query is not valid.", errors=[place])


def _csv(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> Response:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return Response(text.getvalue(), media_type=CSV)
