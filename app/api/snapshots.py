"""`/v1/snapshots`: models worth keeping, and their files."""

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from PIL import Image

from app.api import documents
from app.api.deps import EngineOf, JobId, Reader, SnapshotId, matches, require_job
from app.api.schemas import SnapshotList, SnapshotView
from app.api.views import snapshot_view
from app.errors import Problem
from app.store import blobs, snapshots
from app.store.engine import read
from trainer import filters

router = APIRouter(prefix="/v1", tags=["snapshots"])

FILE, PNG = "application/octet-stream", "image/png"
MOST_DRAWN = 256
TILE_PIXELS = 32
"""That a filter has at least in a picture: small ones are enlarged."""
PIECE_BYTES = 256 * 1024
FILE_CONTENT = {FILE: {"schema": {"type": "string", "format": "binary"}}}


@router.get("/jobs/{job_id}/snapshots", summary="A job's snapshots", responses=documents.problems(404, 422, 503))
def index(caller: Reader, job_id: JobId, engine: EngineOf) -> SnapshotList:
    """Oldest first."""
    require_job(engine, job_id)
    with read(engine) as session:
        found = snapshots.of_job(session, job_id)
        return SnapshotList(items=[snapshot_view(one, blobs.size(session, one.sha256)) for one in found])


@router.get("/snapshots/{snapshot_id}", summary="A snapshot", responses=documents.problems(404, 422, 503))
def show(caller: Reader, snapshot_id: SnapshotId, engine: EngineOf) -> SnapshotView:
    """Its scores and where it comes from."""
    with read(engine) as session:
        snapshot = snapshots.get(session, snapshot_id)
        return snapshot_view(snapshot, blobs.size(session, snapshot.sha256))


@router.head("/snapshots/{snapshot_id}/weights", include_in_schema=False)
@router.get(
    "/snapshots/{snapshot_id}/weights",
    summary="A snapshot's file",
    response_class=StreamingResponse,
    responses={
        200: {"content": FILE_CONTENT},
        206: {"description": "Part of the file.", "content": FILE_CONTENT},
        304: {"description": "You have it."},
        **documents.problems(404, 416, 422, 503),
    },
)
def weights(
    request: Request,
    caller: Reader,
    snapshot_id: SnapshotId,
    engine: EngineOf,
    range: Annotated[str | None, Header(description="One range of bytes.")] = None,
    if_range: Annotated[str | None, Header(description="The range only if this is the ETag.")] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """safetensors: the network's weights, and all that is needed to rebuild it in the header."""
    with read(engine) as session:
        snapshot = snapshots.get(session, snapshot_id)
        size = blobs.size(session, snapshot.sha256)
    etag = f'"{snapshot.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Disposition": f'attachment; filename="{snapshot.id}.safetensors"',
    }
    if matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    start, end, status = 0, size, 200
    if range and (if_range is None or if_range == etag):
        part = byte_range(range, size)
        if part:
            (start, end), status = part, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=FILE)
    pieces = _pieces(blobs.stream(engine, snapshot.sha256, start, end))
    return StreamingResponse(pieces, status, headers, FILE)


@router.get(
    "/snapshots/{snapshot_id}/filters.png",
    summary="What a snapshot's first layer looks at",
    response_class=Response,
    responses={
        200: {"content": {PNG: {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "You have it."},
        **documents.problems(404, 409, 422, 503),
    },
)
def first_filters(
    caller: Reader, snapshot_id: SnapshotId, engine: EngineOf, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """The weights of its first layer that has some, a tile for each filter or unit, at most 256.

    Grey is zero, and a filter's largest weight is black or white; on RGB images tiles are in colours.
    """
    with read(engine) as session:
        snapshot = snapshots.get(session, snapshot_id)
    etag = f'"filters-{snapshot.sha256}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=31536000, immutable"}
    if matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    with TemporaryDirectory(prefix="annealer-filters-") as folder:
        path = Path(folder) / f"{snapshot.id}.safetensors"
        blobs.fetch(engine, snapshot.sha256, path)
        try:
            weights = filters.first(path)[:MOST_DRAWN]
        except ValueError as error:
            raise Problem(409, "no-filters", str(error)) from None
    picture = BytesIO()
    zoom = max(1, -(-TILE_PIXELS // max(weights.shape[2:])))
    Image.fromarray(filters.draw(weights, zoom)).save(picture, "PNG")
    return Response(picture.getvalue(), 200, headers, PNG)


def _pieces(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """In pieces so small that several, on their way to a client that reads slowly, hold little."""
    for chunk in chunks:
        for start in range(0, len(chunk), PIECE_BYTES):
            yield chunk[start : start + PIECE_BYTES]


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of a single range; None where the header is to be ignored (RFC 9110, 14.2).

    Raises `Problem` where the range lies outside the file.
    """
    match = re.fullmatch(r"bytes=(\d{1,18})?-(\d{1,18})?", header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if match[1] is None:
        start, end = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        end = min(size, int(match[2]) + 1) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    if start >= size or start >= end:
        headers = {"Content-Range": f"bytes */{size}"}
        raise Problem(416, "range-not-satisfiable", f"The file has {size} bytes.", headers=headers)
    return start, end
