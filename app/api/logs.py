"""`/v1/jobs/{id}/logs`: what a job's training processes wrote, and the same as it comes."""

import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from sqlalchemy import Engine

from app.api import documents
from app.api.deps import EngineOf, JobId, Reader, WatcherOf, resume_after, unless_gone, wait_seconds
from app.api.events import KEEP_ALIVE_SECONDS, STREAM
from app.api.schemas import LogChunkView, LogView
from app.errors import Problem
from app.notify import Watcher
from app.store import jobs, logs
from app.store.engine import read
from app.store.errors import NotFound
from app.store.logs import Stretch

router = APIRouter(prefix="/v1", tags=["jobs"])

TEXT = "text/plain"
LARGEST_OFFSET = 2**53
MOST_BYTES = 1024 * 1024


@router.get(
    "/jobs/{job_id}/logs",
    summary="What a job's training processes wrote",
    response_model=LogView,
    responses={
        200: {
            "content": {
                STREAM: {"schema": {"type": "string"}},
                TEXT: {"schema": {"type": "string"}},
            }
        },
        **documents.problems(404, 422, 503),
    },
)
async def show(
    caller: Reader,
    request: Request,
    job_id: JobId,
    engine: EngineOf,
    watcher: WatcherOf,
    tail: Annotated[int | None, Query(ge=1, le=100_000, description="Begin with the last N lines.")] = None,
    offset: Annotated[
        int | None, Query(ge=0, le=LARGEST_OFFSET, description="Begin with this byte; `next_offset` goes on.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_BYTES, description="At most so many bytes.")] = MOST_BYTES,
    format: Annotated[Literal["json", "text"], Query(description="`text`: the output alone.")] = "json",
    last_event_id: Annotated[
        str | None, Header(description="Where a stream goes on; clients send it by themselves.")
    ] = None,
    prefer: Annotated[
        str | None, Header(description="`wait=N`: hold the answer until there is output, up to N ≤ 60 seconds.")
    ] = None,
) -> Response:
    """stdout and stderr of all attempts, from the first byte that is kept.

    With `Accept: text/event-stream`, as server-sent events until the job is finished. With `Prefer: wait=30` and the
    `offset` of the end, it answers as soon as there is more. Unless that was all, the `Link` with `rel="next"` goes on.
    """
    wait = wait_seconds(request)
    if tail is not None and offset is not None:
        place = {"parameter": "tail", "code": "invalid", "detail": "Give tail or offset, not both."}
        raise Problem(422, "request-invalid", "The query is not valid.", errors=[place])
    resumed = resume_after(last_event_id)
    start = await run_in_threadpool(_start, engine, job_id, tail, resumed or offset or 0)
    if STREAM in request.headers.get("Accept", ""):
        stream = _follow(engine, watcher, job_id, start)
        return StreamingResponse(stream, media_type=STREAM, headers={"X-Accel-Buffering": "no"})
    view, _ = await unless_gone(request, _awaited(engine, watcher, job_id, start, limit, wait or 0))
    headers = {} if wait is None else {"Preference-Applied": f"wait={wait}"}
    if not view.complete:
        following = request.url.remove_query_params("tail").include_query_params(offset=view.next_offset)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    if format == "text":
        return PlainTextResponse("".join(item.text for item in view.items), headers=headers)
    return JSONResponse(view.model_dump(mode="json"), headers=headers)


def _start(engine: Engine, job_id: str, tail: int | None, offset: int) -> int:
    with read(engine) as session:
        jobs.get(session, job_id)
        return offset if tail is None else logs.tail(session, job_id, tail)


async def _awaited(
    engine: Engine, watcher: Watcher, job_id: str, start: int, limit: int, seconds: float
) -> tuple[LogView, int]:
    """What there is from byte `start` on, once there is any, the job is final or `seconds` are over."""
    deadline = time.monotonic() + seconds
    while True:
        view, version = await run_in_threadpool(_view, engine, job_id, start, limit)
        left = deadline - time.monotonic()
        if view.items or view.complete or left <= 0:
            return view, version
        if not await watcher.changed(job_id, version, left):
            return view, version


def _view(engine: Engine, job_id: str, start: int, limit: int) -> tuple[LogView, int]:
    with read(engine) as session:
        job = jobs.get(session, job_id)
        extent = logs.extent(session, job_id)
        found = logs.read(session, job_id, start, limit)
    items = [_chunk_view(stretch) for stretch in found]
    following = items[-1].next_offset if items else min(start, extent.end)
    view = LogView(
        items=items,
        next_offset=following,
        first_offset=extent.first,
        complete=job.status.is_final and following == extent.end,
    )
    return view, job.version


def _chunk_view(stretch: Stretch) -> LogChunkView:
    return LogChunkView(
        attempt=stretch.attempt,
        offset=stretch.start,
        next_offset=stretch.end,
        text=stretch.data.decode(errors="replace"),
        written_at=stretch.written_at,
    )


async def _follow(engine: Engine, watcher: Watcher, job_id: str, start: int) -> AsyncIterator[str]:
    """Output as it comes, a comment now and then so that nobody thinks the line is dead."""
    yield "retry: 1000\n\n"
    while True:
        try:
            view, _ = await _awaited(engine, watcher, job_id, start, logs.CHUNK_BYTES, KEEP_ALIVE_SECONDS)
        except NotFound:
            return
        start = view.next_offset
        for item in view.items:
            yield _frame(item)
        if view.complete or watcher.is_closing:
            return
        if not view.items:
            yield ": still here\n\n"


def _frame(item: LogChunkView) -> str:
    data = json.dumps(item.model_dump(mode="json"))
    return f"id: {item.next_offset}\nevent: output\ndata: {data}\n\n"
