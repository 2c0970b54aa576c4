"""`/v1/jobs`: submit, validate, list, poll, cancel, pause, resume, retry, delete."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import structlog
from fastapi import APIRouter, BackgroundTasks, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import Field
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.api import documents
from app.api.deps import (
    NAME,
    BellOf,
    EngineOf,
    JobId,
    JsonBody,
    OptionalJsonBody,
    OwnerOf,
    Reader,
    SettingsOf,
    SpecBody,
    Submitter,
    WatcherOf,
    idempotency_of,
    matches,
    read_body,
    unless_gone,
    wait_seconds,
)
from app.api.schemas import JobChange, JobList, JobSummaryList, JobView, PlanView, RetryRequest
from app.api.views import job_summaries, job_view, job_views, plan_view
from app.errors import Problem
from app.settings import Settings
from app.store import datasets, jobs, wishes, workers
from app.store.engine import read
from app.store.engine import retry as transact
from app.store.jobs import Idempotency, JobFilter, Sort
from app.store.models import Dataset, Job
from app.store.states import Kind, Status
from trainer.parsing import parse
from trainer.plan import Plan, check
from trainer.spec import TrainingSpec

router = APIRouter(prefix="/v1", tags=["jobs"])
log = structlog.get_logger()


@router.post(
    "/jobs",
    status_code=201,
    summary="Submit a job",
    responses=documents.problems(408, 409, 413, 415, 422, 503) | documents.SUBMITTED,
    openapi_extra=documents.SPEC_BODY,
)
def submit(
    caller: Submitter,
    body: SpecBody,
    engine: EngineOf,
    bell: BellOf,
    settings: SettingsOf,
    owner: OwnerOf,
    tasks: BackgroundTasks,
    response: Response,
    idempotency_key: Annotated[
        str | None, Header(description="Same key and same body: the same job, made once.")
    ] = None,
) -> JobView:
    """Check the spec and queue it. Once this is answered, the job will reach a final state."""
    spec = parse(body)
    idempotency = idempotency_of(owner, idempotency_key, body)

    def store(session: Session) -> tuple[JobView, bool]:
        # What the workers have may have changed since: the same request still stands for its job.
        if idempotency and (known := jobs.known(session, idempotency)):
            return job_view(session, known), False
        dataset, plan = _plan(session, spec, caller.sees)
        job, created = _submit(session, plan, dataset, settings, owner, idempotency)
        return job_view(session, job), created

    view, created = transact(engine, store)
    response.headers["Location"] = view.links.self_
    response.headers["ETag"] = _etag(view)
    if created:
        log.info("job submitted", job=view.id)
        tasks.add_task(bell.ring, spec.device)
    else:
        response.headers["Idempotency-Replayed"] = "true"
    return view


@router.post(
    "/jobs:validate",
    summary="Check a spec and see what it would do",
    responses=documents.problems(408, 413, 415, 422, 503),
    openapi_extra=documents.SPEC_BODY,
)
def validate(caller: Submitter, request: Request, body: SpecBody, engine: EngineOf) -> PlanView:
    """The resolved spec, the layer table, the learning rates, warnings. Nothing is stored.

    What none of the live workers has, a precision or as many devices, is refused; while none of the spec's `device`
    lives, a precision is warned of.
    """
    spec = parse(body)
    with read(engine) as session:
        _, plan = _plan(session, spec, caller.sees)
    return plan_view(plan, getattr(request.state, "document", None))


@router.get("/jobs", summary="List jobs", responses=documents.problems(422, 503))
def index(
    caller: Reader,
    request: Request,
    engine: EngineOf,
    response: Response,
    id: Annotated[
        list[Annotated[str, Field(max_length=100, pattern=NAME)]],
        Query(description="Only these; repeat the parameter.", max_length=200),
    ] = [],  # noqa: B006
    kind: Annotated[list[Kind], Query(description="Any of these; repeat the parameter.")] = [Kind.TRAINING],  # noqa: B006
    status: Annotated[list[Status], Query(description="Any of these; repeat the parameter.")] = [],  # noqa: B006
    name: Annotated[
        str | None, Query(min_length=1, max_length=200, description="Part of the name, in any case.")
    ] = None,
    label: Annotated[list[str], Query(description="`key:value`; all of them when repeated.", max_length=32)] = [],  # noqa: B006
    dataset: Annotated[str | None, Query(min_length=1, max_length=100)] = None,
    sort: Annotated[Sort, Query(description="A minus sign for descending.")] = "-created_at",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before.")] = None,
    view: Annotated[
        Literal["full", "summary"],
        Query(description="`summary`: a line each, without the spec and with a small curve of the accuracy."),
    ] = "full",
) -> JobList | JobSummaryList:
    """A page of the jobs that the key sees, trainings unless `kind` says otherwise.

    Take `next_cursor` to the next; the `Link` header has its address.
    """
    filters = JobFilter(
        tuple(sorted(set(status))),
        _text("name", name),
        _labels(label),
        _text("dataset", dataset),
        caller.sees,
        tuple(sorted(set(kind))),
        tuple(sorted(set(id))),
    )
    with read(engine) as session:
        found, following = jobs.page(session, filters, sort, cursor, limit)
        full = job_views(session, found) if view == "full" else []
        summaries = job_summaries(session, found) if view == "summary" else []
    if following:
        pairs = [(key, value) for key, value in request.query_params.multi_items() if key != "cursor"]
        response.headers["Link"] = f'</v1/jobs?{urlencode([*pairs, ("cursor", following)])}>; rel="next"'
    if view == "summary":
        return JobSummaryList(items=summaries, next_cursor=following)
    return JobList(items=full, next_cursor=following)


@router.get(
    "/jobs/{job_id}",
    summary="A job as it is now",
    response_model=JobView,
    responses=documents.problems(404, 422, 503) | documents.NOT_MODIFIED,
)
async def show(
    caller: Reader,
    request: Request,
    job_id: JobId,
    engine: EngineOf,
    watcher: WatcherOf,
    if_none_match: Annotated[
        str | None, Header(description="The `ETag` you have: 304 when the job has not changed.")
    ] = None,
    prefer: Annotated[
        str | None,
        Header(description="`wait=N`: hold the answer until the job changes, up to N ≤ 60 seconds."),
    ] = None,
) -> Response:
    """Poll this. With `If-None-Match` and `Prefer: wait=30` it answers as soon as there is news."""
    wait = wait_seconds(request)
    view = await run_in_threadpool(_show, engine, job_id)
    knows_it = matches(if_none_match, _etag(view))
    is_waiting = wait is not None and (knows_it or if_none_match is None) and not view.status.is_final
    if is_waiting and await unless_gone(request, watcher.changed(job_id, view.version, wait or 0)):
        view = await run_in_threadpool(_show, engine, job_id)
    headers = {"ETag": _etag(view)}
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
    if matches(if_none_match, _etag(view)):
        return Response(status_code=304, headers=headers)
    return JSONResponse(view.model_dump(mode="json", by_alias=True), headers=headers)


@router.post("/jobs/{job_id}/cancel", summary="Cancel a job", responses=documents.problems(404, 409, 422, 503))
def cancel(caller: Submitter, job_id: JobId, engine: EngineOf, response: Response) -> JobView:
    """At once while it is queued or paused, within two seconds while it runs. Cancelling twice is fine."""
    return _wish(engine, response, lambda session: wishes.cancel(session, job_id, caller.name))


@router.post("/jobs/{job_id}/pause", summary="Pause a job", responses=documents.problems(404, 409, 422, 503))
def pause(caller: Submitter, job_id: JobId, engine: EngineOf, response: Response) -> JobView:
    """At once while it is queued; a running one makes a checkpoint and frees its device. Pausing twice is fine."""
    return _wish(engine, response, lambda session: wishes.pause(session, job_id, caller.name))


@router.post("/jobs/{job_id}/resume", summary="Resume a paused job", responses=documents.problems(404, 409, 422, 503))
def resume(
    caller: Submitter, job_id: JobId, engine: EngineOf, bell: BellOf, tasks: BackgroundTasks, response: Response
) -> JobView:
    """Queue it again; it goes on to the bit from where it was. Resuming twice is fine."""
    view = _wish(engine, response, lambda session: wishes.resume(session, job_id, caller.name))
    tasks.add_task(bell.ring, view.spec["device"])
    return view


@router.post(
    "/jobs/{job_id}/retry",
    summary="Retry a failed or cancelled job",
    responses=documents.problems(404, 408, 409, 413, 415, 422, 503),
    openapi_extra=documents.RETRY_BODY,
)
def retry(
    caller: Submitter,
    job_id: JobId,
    body: OptionalJsonBody,
    engine: EngineOf,
    bell: BellOf,
    tasks: BackgroundTasks,
    response: Response,
) -> JobView:
    """Queue it again, from its last checkpoint or from the start. Its attempts and running time count anew.

    Asked again before the job has ended, it changes nothing.
    """
    start = _retry_request(body).from_
    view = _wish(engine, response, lambda session: wishes.retry(session, job_id, start, caller.name))
    tasks.add_task(bell.ring, view.spec["device"])
    return view


@router.patch(
    "/jobs/{job_id}",
    summary="Change a job's priority",
    responses=documents.problems(404, 408, 409, 413, 415, 422, 503),
    openapi_extra=documents.CHANGE_BODY,
)
def change(caller: Submitter, job_id: JobId, body: JsonBody, engine: EngineOf, response: Response) -> JobView:
    """Queued jobs of the highest priority are taken first. The spec stays as it was submitted."""
    priority = read_body(JobChange, body, 'Give {"priority": N}, N from -100 to 100.').priority
    return _wish(engine, response, lambda session: wishes.prioritize(session, job_id, priority, caller.name))


@router.delete(
    "/jobs/{job_id}",
    status_code=204,
    summary="Delete a finished job",
    responses=documents.problems(404, 409, 422, 503),
)
def delete(caller: Submitter, job_id: JobId, engine: EngineOf) -> None:
    """Its metrics, events and snapshots go with it; weights that another job has too stay."""
    transact(engine, lambda session: jobs.delete(session, job_id))


def _wish(engine: Engine, response: Response, ask: Callable[[Session], Job]) -> JobView:
    view = transact(engine, lambda session: job_view(session, ask(session)))
    response.headers["ETag"] = _etag(view)
    return view


def _retry_request(body: bytes) -> RetryRequest:
    return read_body(RetryRequest, body or b"{}", 'Give {"from": "checkpoint"} or {"from": "start"}, or no body.')


def _show(engine: Engine, job_id: str) -> JobView:
    with read(engine) as session:
        return job_view(session, jobs.get(session, job_id))


def _etag(view: JobView) -> str:
    return f'"{view.version}"'


def _plan(session: Session, spec: TrainingSpec, sees: str | None) -> tuple[Dataset, Plan]:
    dataset = datasets.ready(session, spec.dataset, sees)
    return dataset, check(spec, datasets.facts(dataset), workers.offer(session, spec.device))


def _submit(
    session: Session, plan: Plan, dataset: Dataset, settings: Settings, owner: str, idempotency: Idempotency | None
) -> tuple[Job, bool]:
    return jobs.submit(
        session,
        plan.spec,
        dataset,
        steps_per_epoch=plan.steps_per_epoch,
        max_attempts=settings.max_attempts,
        owner=owner,
        max_queued=settings.max_queued,
        idempotency=idempotency,
    )


def _labels(given: list[str]) -> tuple[tuple[str, str], ...]:
    labels = []
    for label in given:
        key, colon, value = label.partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}", key):
            raise _bad_parameter("label", "Give key:value, the key as in a spec's labels.")
        labels.append((key, _text("label", value) or ""))
    return tuple(sorted(labels))


def _text(parameter: str, value: str | None) -> str | None:
    """Text that a database can be asked for."""
    if value is not None and re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value):
        raise _bad_parameter(parameter, "Control characters are not allowed here.")
    return value


def _bad_parameter(parameter: str, detail: str) -> Problem:
    places: list[dict[str, Any]] = [{"parameter": parameter, "code": "invalid", "detail": detail}]
    return Problem(422, "request-invalid", "The query is not valid.", errors=places)
