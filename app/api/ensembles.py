"""`/v1/ensembles`: what several snapshots predict together."""

from typing import Annotated
from urllib.parse import urlencode

import structlog
from fastapi import APIRouter, BackgroundTasks, Header, Query, Response
from sqlalchemy.orm import Session

from app.api import documents
from app.api.deps import (
    BellOf,
    EngineOf,
    EnsembleId,
    JobId,
    JsonBody,
    OwnerOf,
    Reader,
    SettingsOf,
    Submitter,
    idempotency_of,
)
from app.api.schemas import EnsembleList, EnsembleView
from app.api.views import ensemble_view, ensemble_views
from app.errors import Problem
from app.store import candidates, datasets, ensembles, jobs
from app.store.engine import read, retry
from app.store.models import Dataset, Ensemble
from app.store.states import Kind
from trainer import mixing
from trainer.errors import Mistake, SpecInvalid
from trainer.parsing import parse_as
from trainer.spec.scoring import ScoringSpec

router = APIRouter(prefix="/v1", tags=["ensembles"])
log = structlog.get_logger()


@router.post(
    "/ensembles",
    status_code=201,
    summary="Make an ensemble",
    responses=documents.problems(408, 409, 413, 415, 422, 503) | documents.MADE_ENSEMBLE,
    openapi_extra=documents.SCORING_BODY,
)
def make(
    caller: Submitter,
    body: JsonBody,
    engine: EngineOf,
    bell: BellOf,
    settings: SettingsOf,
    owner: OwnerOf,
    tasks: BackgroundTasks,
    response: Response,
    idempotency_key: Annotated[
        str | None, Header(description="Same key and same body: the same ensemble, made once.")
    ] = None,
) -> EnsembleView:
    """Of snapshots of finished jobs. A job of its own scores it: poll `links.job`, then look here again.

    An ensemble never changes; another choice is another ensemble.
    """
    spec = parse_as(ScoringSpec, body)
    idempotency = idempotency_of(owner, idempotency_key, body)

    def store(session: Session) -> tuple[EnsembleView, bool]:
        if idempotency and (known := jobs.known(session, idempotency)):
            return ensemble_view(session, _made_by(session, known.id)), False
        places = candidates.find(session, spec, caller.sees)
        found = [place.candidate for place in places]
        dataset = _dataset(session, spec, found)
        if wrong := list(mixing.mistakes(spec, found, datasets.facts(dataset))):
            raise SpecInvalid(wrong)
        ensemble, created = ensembles.make(
            session,
            spec,
            dataset,
            [place.snapshot for place in places],
            max_attempts=settings.max_attempts,
            owner=owner,
            max_queued=settings.max_queued,
            idempotency=idempotency,
        )
        return ensemble_view(session, ensemble), created

    view, created = retry(engine, store)
    response.headers["Location"] = view.links.self_
    if created:
        log.info("ensemble made", ensemble=view.id, job=view.job_id)
        tasks.add_task(bell.ring, spec.device)
    else:
        response.headers["Idempotency-Replayed"] = "true"
    return view


@router.get("/ensembles", summary="List ensembles", responses=documents.problems(422, 503))
def index(
    caller: Reader,
    engine: EngineOf,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before.")] = None,
) -> EnsembleList:
    """Those that the key sees, the newest first, without their reports; those that trainings made stand among them."""
    with read(engine) as session:
        found, following = ensembles.page(session, caller.sees, cursor, limit)
        views = ensemble_views(session, found)
    if following:
        address = f"/v1/ensembles?{urlencode({'limit': limit, 'cursor': following})}"
        response.headers["Link"] = f'<{address}>; rel="next"'
    return EnsembleList(items=views, next_cursor=following)


@router.get("/jobs/{job_id}/ensemble", summary="The ensemble of a job", responses=documents.problems(404, 422, 503))
def of_job(caller: Reader, job_id: JobId, engine: EngineOf) -> EnsembleView:
    """There once a training has scored it, if its spec asks for one; of a scoring, what it scores."""
    with read(engine) as session:
        job = jobs.get(session, job_id)
        ensemble = ensembles.of_job(session, job_id)
        if ensemble is None:
            asked = job.kind is Kind.TRAINING and job.spec["ensemble"]["kind"] != "none"
            why = f"it is {job.status}" if asked else "its spec asks for none"
            raise Problem(404, "not-found", f"Job {job_id} has no ensemble: {why}.")
        return ensemble_view(session, ensemble)


@router.get("/ensembles/{ensemble_id}", summary="An ensemble", responses=documents.problems(404, 422, 503))
def show(caller: Reader, ensemble_id: EnsembleId, engine: EngineOf) -> EnsembleView:
    """Its members, each with its share and its scores when it stands alone, and all that scoring has found."""
    with read(engine) as session:
        return ensemble_view(session, ensembles.get(session, ensemble_id))


@router.delete(
    "/ensembles/{ensemble_id}",
    status_code=204,
    summary="Delete an ensemble",
    responses=documents.problems(404, 409, 422, 503),
)
def delete(caller: Submitter, ensemble_id: EnsembleId, engine: EngineOf) -> None:
    """With the job that scores it, which must be final. What a training made goes with the training."""

    def remove(session: Session) -> None:
        ensemble = ensembles.get(session, ensemble_id)
        if ensemble.kind != ensembles.COMBINED:
            detail = f"Job {ensemble.job_id} made this ensemble, and it goes with the job; delete that."
            raise Problem(409, "belongs-to-job", detail)
        jobs.delete(session, ensemble.job_id)

    retry(engine, remove)


def _made_by(session: Session, job_id: str) -> Ensemble:
    ensemble = ensembles.of_job(session, job_id)
    assert ensemble is not None
    return ensemble


def _dataset(session: Session, spec: ScoringSpec, members: list[mixing.Candidate]) -> Dataset:
    """What the ensemble is scored on. Raises `SpecInvalid`."""
    names = sorted({member.dataset for member in members})
    if spec.dataset is None and len(names) > 1:
        detail = f"The members were trained on {', '.join(names)}; say what to score them on."
        raise SpecInvalid([Mistake("/dataset", "missing", detail)])
    name = spec.dataset or names[0]
    dataset = datasets.by_name(session, name)
    if dataset is None:
        known = ", ".join(item.name for item in datasets.all_of_them(session))
        detail = f"There is no data set {name}. There is {known}."
        raise SpecInvalid([Mistake("/dataset", "unknown_dataset", detail)])
    return dataset
