"""`/v1/uploads`: files on their way in, part by part."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.api import documents
from app.api.deps import EngineOf, JsonBody, OwnerOf, Reader, SettingsOf, Submitter, UploadId, spooled
from app.api.schemas import PartView, UploadList, UploadRequest, UploadView
from app.api.views import upload_view
from app.errors import Problem, bad_body
from app.store import uploads
from app.store.engine import read, retry

router = APIRouter(prefix="/v1", tags=["uploads"])


@router.post(
    "/uploads",
    status_code=201,
    summary="Announce a file",
    responses=documents.problems(413, 415, 422, 503) | documents.ANNOUNCED,
    openapi_extra=documents.UPLOAD_BODY,
)
def begin(
    caller: Submitter, body: JsonBody, engine: EngineOf, settings: SettingsOf, owner: OwnerOf, response: Response
) -> UploadView:
    """Announce a file by its name, size and SHA-256, then send its parts.

    Announced again, it is the same upload (200), and `missing` tells what to go on with.
    """
    try:
        asked = UploadRequest.model_validate_json(body)
    except ValidationError as error:
        raise bad_body(error, "Give the file's name, size and sha256.") from None
    if asked.size > settings.max_upload_bytes:
        raise Problem(413, "upload-too-large", f"A file may have at most {settings.max_upload_bytes} bytes.")

    def store(session: Session) -> tuple[UploadView, bool]:
        upload, created = uploads.begin(
            session,
            owner=owner,
            name=asked.name,
            size=asked.size,
            sha256=asked.sha256,
            part_bytes=settings.upload_part_bytes,
            most_bytes=settings.max_uploads_bytes,
        )
        return upload_view(session, upload), created

    view, created = retry(engine, store)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/uploads/{view.id}"
    return view


@router.get("/uploads", summary="List uploads", responses=documents.problems(422, 503))
def index(caller: Reader, engine: EngineOf) -> UploadList:
    """Those that the key sees and no import has read yet, the oldest first."""
    with read(engine) as session:
        return UploadList(items=[upload_view(session, upload) for upload in uploads.of_owner(session, caller.sees)])


@router.get("/uploads/{upload_id}", summary="An upload", responses=documents.problems(404, 422, 503))
def show(caller: Reader, upload_id: UploadId, engine: EngineOf) -> UploadView:
    """What has arrived and what is missing."""
    with read(engine) as session:
        return upload_view(session, uploads.get(session, upload_id))


@router.put(
    "/uploads/{upload_id}/parts/{number}",
    summary="Send a part",
    responses=documents.problems(404, 409, 413, 422, 503),
    openapi_extra=documents.PART_BODY,
)
async def put(
    request: Request,
    caller: Submitter,
    upload_id: UploadId,
    number: Annotated[int, Path(ge=1, le=2**31 - 1, description="Counted from 1.")],
    engine: EngineOf,
) -> PartView:
    """The bytes of one part, in any order, several at once, and again if no answer came."""
    expected = await run_in_threadpool(_part_size, engine, upload_id, number)
    async with spooled(request, expected) as file:
        part = await run_in_threadpool(uploads.put, engine, upload_id, number, file)
    return PartView(number=part.number, size=part.size, sha256=part.sha256)


@router.delete(
    "/uploads/{upload_id}",
    status_code=204,
    summary="Delete an upload",
    responses=documents.problems(404, 409, 422, 503),
)
def delete(caller: Submitter, upload_id: UploadId, engine: EngineOf) -> None:
    """Forget what has arrived; refused while an import reads it."""
    retry(engine, lambda session: uploads.remove(session, upload_id))


def _part_size(engine: Engine, upload_id: str, number: int) -> int:
    with read(engine) as session:
        return uploads.part_size(uploads.get(session, upload_id), number)
