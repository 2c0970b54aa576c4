"""`/v1/snapshots`: models worth keeping, and their files."""

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from PIL import Image

from app.api import documents
from app.api.deps import EngineOf, JobId, Reader, SnapshotId, matches, require_job
from app.api.downloads import RESPONSES, DownloadOf
from app.api.schemas import SnapshotList, SnapshotView
from app.api.views import snapshot_view
from app.errors import Problem
from app.store import blobs, snapshots
from app.store.engine import read
from trainer import filters

router = APIRouter(prefix="/v1", tags=["snapshots"])

PNG = "image/png"
MOST_DRAWN = 256
TILE_PIXELS = 32
"""That a filter has at least in a picture: small ones are enlarged."""


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
    responses=RESPONSES,
)
def weights(caller: Reader, snapshot_id: SnapshotId, engine: EngineOf, download: DownloadOf) -> Response:
    """safetensors: the network's weights, and all that is needed to rebuild it in the header."""
    with read(engine) as session:
        snapshot = snapshots.get(session, snapshot_id)
        size = blobs.size(session, snapshot.sha256)
    return download.of(snapshot.sha256, size, f"{snapshot.id}.safetensors")


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
