"""`/v1/jobs/{id}/files`: what a job was asked to make."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse

from app.api import documents
from app.api.deps import NAME, EngineOf, JobId, Reader, require_job
from app.api.downloads import RESPONSES, DownloadOf
from app.api.schemas import FileList
from app.api.views import file_view
from app.store import files
from app.store.engine import read

router = APIRouter(prefix="/v1", tags=["files"])

FileName = Annotated[str, Path(max_length=100, pattern=NAME)]


@router.get("/jobs/{job_id}/files", summary="A job's files", responses=documents.problems(404, 422, 503))
def index(caller: Reader, job_id: JobId, engine: EngineOf) -> FileList:
    """By name. Predictions of a data set and exports make some, and are whole once their job has succeeded."""
    require_job(engine, job_id)
    with read(engine) as session:
        return FileList(items=[file_view(one) for one in files.of_job(session, job_id)])


@router.head("/jobs/{job_id}/files/{file}", include_in_schema=False)
@router.get(
    "/jobs/{job_id}/files/{file}",
    summary="A file of a job",
    response_class=StreamingResponse,
    responses=RESPONSES,
)
def show(caller: Reader, job_id: JobId, file: FileName, engine: EngineOf, download: DownloadOf) -> Response:
    """Its bytes."""
    with read(engine) as session:
        found = files.get(session, job_id, file)
    return download.of(found.sha256, found.size, found.name, found.media_type)
