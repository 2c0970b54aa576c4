"""The pages. Each is a frame that its script fills from the API; what it must know at once it is given here."""

import re
from pathlib import Path
from typing import Annotated

import yaml
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import Response as Plain
from sqlalchemy.orm import Session

from app.api.deps import Admin, EngineOf, EnsembleId, Id, JobId, Reader
from app.errors import Problem
from app.store import datasets, ensembles, jobs
from app.store.engine import read
from app.store.errors import NotFound
from app.store.models import Dataset, Job
from app.store.scopes import Scope
from app.store.states import Kind
from app.web.assets import bundle
from app.web.rendering import page

router = APIRouter(include_in_schema=False)

EXAMPLES = Path(__file__).with_name("examples")
FIRST_EXAMPLE = "snapshot-ensemble"
DATASET_LINE = re.compile("^dataset: .*$", re.MULTILINE)
YEAR_SECONDS = 365 * 24 * 3600


@router.get("/")
def index(request: Request, caller: Reader) -> Response:
    """Every job."""
    return page(request, "jobs.html")


@router.get("/jobs/{job_id}")
def job(request: Request, caller: Reader, job_id: JobId, engine: EngineOf) -> Response:
    """One job: a training, or something smaller that has one thing to show for it."""
    with read(engine) as session:
        found = jobs.get(session, job_id)
        if found.kind is Kind.TRAINING:
            return page(request, "job.html", job=found)
        return page(request, "task.html", job=found, made=_made(session, found))


@router.get("/new")
def new(
    request: Request,
    caller: Reader,
    engine: EngineOf,
    example: Annotated[str, Query()] = FIRST_EXAMPLE,
    clone: Annotated[str | None, Query()] = None,
    dataset: Annotated[str | None, Query()] = None,
) -> Response:
    """A spec to be written, from an example, on `dataset` if that is known, or from the job `clone`."""
    examples = _examples()
    with read(engine) as session:
        known = datasets.names(session, caller.sees)
        if clone:
            origin = jobs.get(session, clone)
            if caller.sees not in (None, origin.owner):
                raise NotFound("job", clone)
            text = yaml.safe_dump(origin.spec, sort_keys=False, allow_unicode=True, width=100)
        else:
            text = examples.get(example, examples[FIRST_EXAMPLE])
            if dataset in known:
                text = DATASET_LINE.sub(f"dataset: {dataset}", text)
    return page(request, "new.html", text=text, examples=examples, chosen=example, clone=clone, datasets=known)


@router.get("/compare")
def compare(request: Request, caller: Reader) -> Response:
    """Trainings side by side; the address names them."""
    return page(request, "compare.html")


@router.get("/ensembles")
def all_ensembles(request: Request, caller: Reader) -> Response:
    """Every ensemble."""
    return page(request, "ensembles.html")


@router.get("/ensembles/new")
def new_ensemble(request: Request, caller: Reader) -> Response:
    """One to be made of snapshots."""
    return page(request, "ensemble-new.html")


@router.get("/ensembles/{ensemble_id}")
def ensemble(request: Request, caller: Reader, ensemble_id: EnsembleId, engine: EngineOf) -> Response:
    """One ensemble, and a place to try it."""
    with read(engine) as session:
        found = ensembles.get(session, ensemble_id)
        name = jobs.get(session, found.job_id).name
    return page(request, "ensemble.html", ensemble=found, name=name)


@router.get("/datasets")
def all_datasets(request: Request, caller: Reader) -> Response:
    """Every data set, and the way in for more."""
    return page(request, "datasets.html")


@router.get("/datasets/{name}")
def dataset(request: Request, caller: Reader, name: Id, engine: EngineOf) -> Response:
    """One data set."""
    with read(engine) as session:
        found = datasets.get(session, name, caller.sees)
    return page(request, "dataset.html", name=found.name)


@router.get("/keys")
def keys(request: Request, caller: Admin) -> Response:
    """Who may come in."""
    return page(request, "keys.html", are_asked_for=caller.key_id is not None)


@router.get("/workers")
def workers(request: Request, caller: Reader) -> Response:
    """Who trains."""
    return page(request, "workers.html", may_drain=caller.scope.covers(Scope.ADMIN))


@router.get("/static/{version}/{path:path}")
def static(request: Request, version: str, path: str) -> Response:
    """A script, style or picture; one of another version is not here."""
    files = bundle()
    asset = files.assets.get(path)
    if asset is None or version != files.version:
        raise Problem(404, "not-found", "There is no such file.")
    headers = {"Cache-Control": f"public, max-age={YEAR_SECONDS}, immutable", "Vary": "Accept-Encoding"}
    content = asset.content
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        content, headers["Content-Encoding"] = asset.compressed, "gzip"
    return Plain(content, headers=headers, media_type=asset.media_type)


def _made(session: Session, job: Job) -> str | None:
    """The page of what a job makes; None once that is gone."""
    if job.kind is Kind.SCORING:
        ensemble = ensembles.of_job(session, job.id)
        return f"/ensembles/{ensemble.id}" if ensemble else None
    dataset = session.get(Dataset, job.dataset_id) if job.kind is Kind.IMPORT and job.dataset_id else None
    return f"/datasets/{dataset.name}" if dataset else None


def _examples() -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted(EXAMPLES.glob("*.yaml"), key=lambda path: path.stem)}
