"""What is written of a job or an ensemble to be read elsewhere: a report in one file, a model card."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

from app import card, figures
from app.api import documents
from app.api.deps import EngineOf, EnsembleId, JobId, Reader
from app.api.schemas import CardView
from app.api.views import epoch_view
from app.store import jobs, metrics
from app.store.engine import read
from app.store.errors import NotFound
from app.store.states import Kind
from app.web import report

router = APIRouter(prefix="/v1", tags=["reports"])

MARKDOWN, SVG, HTML = "text/markdown", "image/svg+xml", "text/html"
HTML_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"}
"""A report has its style in it, and nothing that runs."""


@router.get(
    "/ensembles/{ensemble_id}/card",
    summary="The model card of an ensemble",
    response_model=CardView,
    responses={200: {"content": {MARKDOWN: {"schema": {"type": "string"}}}}, **documents.problems(404, 409, 422, 503)},
)
def show_card(
    caller: Reader,
    request: Request,
    ensemble_id: EnsembleId,
    engine: EngineOf,
    format: Annotated[Literal["json", "markdown"], Query(description="Markdown shows `curves.svg`.")] = "json",
) -> CardView | Response:
    """What it is made of and was trained on, how good it is, where that ends, and how it is asked."""
    with read(engine) as session:
        found = card.make(session, ensemble_id, str(request.base_url).rstrip("/"))
    return found if format == "json" else Response(card.markdown(found), media_type=MARKDOWN)


@router.get(
    "/jobs/{job_id}/curves.svg",
    summary="Curves of a training as a picture",
    response_class=Response,
    responses={200: {"content": {SVG: {"schema": {"type": "string"}}}}, **documents.problems(404, 422, 503)},
)
def curves(caller: Reader, job_id: JobId, engine: EngineOf) -> Response:
    """Loss and accuracy by epoch, training beside validation."""
    with read(engine) as session:
        jobs.get(session, job_id)
        epochs = [epoch_view(row) for row in metrics.epochs(session, job_id)]
    return Response(figures.curves(epochs), media_type=SVG)


@router.get(
    "/jobs/{job_id}/report.html",
    summary="A training in one file",
    response_class=HTMLResponse,
    responses={200: {"content": {HTML: {"schema": {"type": "string"}}}}, **documents.problems(404, 422, 503)},
)
def show_report(caller: Reader, job_id: JobId, engine: EngineOf) -> HTMLResponse:
    """Curves, epochs, snapshots, ensembles, layers, events and the spec. It loads nothing, and nothing in it runs."""
    with read(engine) as session:
        if jobs.get(session, job_id).kind is not Kind.TRAINING:
            raise NotFound("training", job_id)
        text = report.make(session, job_id)
    return HTMLResponse(text, headers=HTML_HEADERS)
