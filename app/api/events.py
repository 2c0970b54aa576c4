"""`/v1/jobs/{id}/events`: a job's history, and the same as it happens."""

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import Engine

from app.api import documents
from app.api.deps import EngineOf, JobId, Reader, WatcherOf, require_job, resume_after
from app.api.schemas import EventList, EventView, JobView
from app.api.views import event_view, job_view
from app.notify import Watcher
from app.store import events, jobs
from app.store.engine import read
from app.store.errors import NotFound

router = APIRouter(prefix="/v1", tags=["jobs"])

STREAM = "text/event-stream"
KEEP_ALIVE_SECONDS = 15.0
BATCH = 500


@router.get(
    "/jobs/{job_id}/events",
    summary="A job's history",
    response_model=EventList,
    responses={
        200: {"content": {STREAM: {"schema": {"type": "string"}}}},
        **documents.problems(404, 422, 503),
    },
)
async def index(
    request: Request,
    caller: Reader,
    job_id: JobId,
    engine: EngineOf,
    watcher: WatcherOf,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Only events with a greater number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
    job: Annotated[
        bool, Query(description="In a stream: also the job as it is, as a nameless `job` event, whenever it changes.")
    ] = False,
    last_event_id: Annotated[
        str | None, Header(description="Where a stream goes on; clients send it by themselves.")
    ] = None,
) -> Response:
    """As JSON, or, with `Accept: text/event-stream`, as server-sent events until the job is finished."""
    await run_in_threadpool(require_job, engine, job_id)
    if STREAM in request.headers.get("Accept", ""):
        start = max(after, resume_after(last_event_id))
        stream = _follow(engine, watcher, job_id, start, job)
        return StreamingResponse(stream, media_type=STREAM, headers={"X-Accel-Buffering": "no"})
    page = await run_in_threadpool(_page, engine, job_id, after, limit)
    return JSONResponse(page.model_dump(mode="json"))


def _page(engine: Engine, job_id: str, after: int, limit: int) -> EventList:
    with read(engine) as session:
        found = [event_view(event) for event in events.after(session, job_id, after, limit + 1)]
    items = found[:limit]
    return EventList(items=items, next_after=items[-1].number if len(found) > limit else None)


async def _follow(engine: Engine, watcher: Watcher, job_id: str, after: int, tells_job: bool) -> AsyncIterator[str]:
    """Events as they come, a comment now and then so that nobody thinks the line is dead."""
    yield "retry: 1000\n\n"
    told = None
    while True:
        try:
            news, job = await run_in_threadpool(_news, engine, job_id, after)
        except NotFound:
            return
        for event in news:
            after = event.number
            yield _frame(event)
        if tells_job and job.version != told:
            told = job.version
            yield f"event: job\ndata: {job.model_dump_json(by_alias=True)}\n\n"
        if (job.status.is_final and not news) or watcher.is_closing:
            return
        if not news and not await watcher.changed(job_id, job.version, KEEP_ALIVE_SECONDS):
            yield ": still here\n\n"


def _news(engine: Engine, job_id: str, after: int) -> tuple[list[EventView], JobView]:
    with read(engine) as session:
        job = job_view(session, jobs.get(session, job_id))
        return [event_view(event) for event in events.after(session, job_id, after, BATCH)], job


def _frame(event: EventView) -> str:
    data = json.dumps(event.model_dump(mode="json"))
    return f"id: {event.number}\nevent: {event.kind}\ndata: {data}\n\n"
