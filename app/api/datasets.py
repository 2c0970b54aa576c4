"""`/v1/datasets`: what specs can name, and how more of it is made."""

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Annotated, BinaryIO
from urllib.parse import urlencode

import structlog
from fastapi import APIRouter, BackgroundTasks, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.api import documents
from app.api.deps import (
    BellOf,
    EngineOf,
    Id,
    OwnerOf,
    Reader,
    SettingsOf,
    Submitter,
    bounded,
    content_type,
    idempotency_of,
    matches,
    spooled,
)
from app.api.schemas import DatasetDetailView, DatasetList
from app.api.views import dataset_detail_view, dataset_views
from app.errors import Problem
from app.settings import Settings
from app.store import blobs, datasets, imports, uploads
from app.store.engine import read, retry
from app.store.jobs import Idempotency
from app.store.models import Job, Upload
from trainer import data
from trainer.datasets import pack, sheet
from trainer.parsing import parse_as
from trainer.spec.importing import ImportSpec

router = APIRouter(prefix="/v1", tags=["data sets"])
log = structlog.get_logger()

JSON, FILE, PNG = "application/json", "application/octet-stream", "image/png"


@router.post(
    "/datasets",
    status_code=202,
    summary="Make a data set",
    responses=documents.problems(409, 413, 415, 422, 503) | documents.MADE_DATASET,
    openapi_extra=documents.IMPORT_BODY,
)
async def make(
    request: Request,
    caller: Submitter,
    engine: EngineOf,
    bell: BellOf,
    settings: SettingsOf,
    owner: OwnerOf,
    tasks: BackgroundTasks,
    response: Response,
    name: Annotated[
        str | None, Query(max_length=100, description="Of a file in the body: what the data set is called.")
    ] = None,
    options: Annotated[
        str | None, Query(max_length=10_000, description="Of a file in the body: `ImportOptions` as JSON.")
    ] = None,
    idempotency_key: Annotated[
        str | None, Header(description="Same key and same body: the same data set, made once.")
    ] = None,
) -> DatasetDetailView:
    """Of an upload, of what everybody knows by name, or of a small file in the body of this request.

    A job of kind import makes it: look here, or at `links.job`, until it is ready. Asked again for the same data by the
    same name, it is the one that is there (200).
    """
    kind = content_type(request)
    if kind == JSON:
        if name is not None or options is not None:
            raise _misplaced("name" if name is not None else "options")
        body = await bounded(request, settings.max_body_bytes)
        making = Making(engine, settings, owner, caller.sees, idempotency_of(owner, idempotency_key, body))
        view, job = await run_in_threadpool(making.of_spec, parse_as(ImportSpec, body))
    elif kind == FILE:
        # Before the file is read: what is wrong with it need not wait for that.
        _direct(name, options, "up_")
        async with spooled(request, settings.max_direct_bytes) as file:
            making = Making(engine, settings, owner, caller.sees, None)
            view, job = await run_in_threadpool(making.of_file, file, name, options, idempotency_key)
    else:
        detail = f"Send {JSON}, or a file as {FILE}, not {kind or 'nothing'}."
        raise Problem(415, "unsupported-media-type", detail)
    response.headers["Location"] = view.links.self_
    if job is None:
        response.status_code = 200
    else:
        log.info("import submitted", job=job.id, dataset=view.name)
        tasks.add_task(bell.ring, job.device)
    return view


@router.get("/datasets", summary="List data sets", responses=documents.problems(422, 503))
def index(
    caller: Reader,
    engine: EngineOf,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=200)] = 200,
    cursor: Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before.")] = None,
) -> DatasetList:
    """Those that the key sees, by name: its owner's, and those that come with Annealer."""
    with read(engine) as session:
        found, following = datasets.page(session, caller.sees, cursor, limit)
        views = dataset_views(session, found)
    if following:
        address = f"/v1/datasets?{urlencode({'limit': limit, 'cursor': following})}"
        response.headers["Link"] = f'<{address}>; rel="next"'
    return DatasetList(items=views, next_cursor=following)


@router.get("/datasets/{name}", summary="A data set", responses=documents.problems(404, 422, 503))
def show(caller: Reader, name: Id, engine: EngineOf) -> DatasetDetailView:
    """By name or id: its classes and splits, means, warnings, and why its import has failed if it has."""
    with read(engine) as session:
        return dataset_detail_view(session, datasets.get(session, name, caller.sees))


@router.get(
    "/datasets/{name}/sample.png",
    summary="Some images of a data set",
    response_class=StreamingResponse,
    responses={
        200: {"content": {PNG: {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "You have it."},
        **documents.problems(404, 409, 422, 503),
    },
)
def sample(
    caller: Reader, name: Id, engine: EngineOf, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """A picture with a row for each class, at most the first 40, of images spread evenly over the training split."""
    with read(engine) as session:
        dataset = datasets.get(session, name, caller.sees)
        if dataset.ready_at is None:
            raise Problem(409, "not-ready", f"The data set {dataset.name} is not there yet.")
        files = {file.name: file for file in datasets.files(session, dataset.id)}
    etag = f'"{dataset.sha256}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=86400"}
    if matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    if file := files.get(pack.SAMPLES):
        headers["Content-Length"] = str(file.size)
        return StreamingResponse(blobs.stream(engine, file.sha256), 200, headers, PNG)
    bundled = data.load(dataset.name)
    return Response(sheet.draw(bundled.train, bundled.classes), 200, headers, PNG)


@router.delete(
    "/datasets/{name}", status_code=204, summary="Delete a data set", responses=documents.problems(404, 409, 422, 503)
)
def delete(caller: Submitter, name: Id, engine: EngineOf) -> None:
    """Refused while jobs or ensembles need it, and while it is being imported."""
    retry(engine, lambda session: datasets.remove(session, name, caller.sees))


class Making:
    """One request for a data set."""

    def __init__(
        self, engine: Engine, settings: Settings, owner: str, sees: str | None, idempotency: Idempotency | None
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._owner = owner
        self._sees = sees
        self._idempotency = idempotency

    def of_spec(self, spec: ImportSpec) -> tuple[DatasetDetailView, Job | None]:
        """The data set, and the job that makes it if there is a new one."""

        def store(session: Session) -> tuple[DatasetDetailView, Job | None]:
            dataset, job = imports.make(
                session,
                spec,
                sees=self._sees,
                max_attempts=self._settings.max_attempts,
                owner=self._owner,
                max_queued=self._settings.max_queued,
                idempotency=self._idempotency,
            )
            return dataset_detail_view(session, dataset), job

        return retry(self._engine, store)

    def of_file(
        self, file: BinaryIO, name: str | None, options: str | None, key: str | None
    ) -> tuple[DatasetDetailView, Job | None]:
        """The same of an open file: an upload whose parts all come at once."""
        file.seek(0)
        digest = blobs.digest(file)
        if (size := file.tell()) == 0:
            raise Problem(422, "request-invalid", "The body is empty; send a file.")
        self._idempotency = idempotency_of(self._owner, key, f"{digest} {name} {options}".encode())
        upload, is_new = retry(self._engine, lambda session: self._announce(session, str(name), digest, size))
        try:
            for number, part in self._missing(upload, file):
                uploads.put(self._engine, upload.id, number, part)
            return self.of_spec(_direct(name, options, upload.id))
        except Exception:
            if is_new:
                retry(self._engine, lambda session: uploads.remove(session, upload.id))
            raise

    def _announce(self, session: Session, name: str, digest: str, size: int) -> tuple[Upload, bool]:
        return uploads.begin(
            session,
            owner=self._owner,
            name=name,
            size=size,
            sha256=digest,
            part_bytes=self._settings.upload_part_bytes,
            most_bytes=self._settings.max_uploads_bytes,
        )

    def _missing(self, upload: Upload, file: BinaryIO) -> Iterator[tuple[int, BinaryIO]]:
        """The parts that have not arrived, cut from the whole file."""
        with read(self._engine) as session:
            numbers = uploads.missing(session, upload)
        for number in numbers:
            file.seek((number - 1) * upload.part_bytes)
            yield number, BytesIO(file.read(upload.part_bytes))


def _direct(name: str | None, options: str | None, upload_id: str) -> ImportSpec:
    """The spec of a file in the body. Raises `SpecInvalid` with what is wrong in the query."""
    if name is None:
        raise _bad("name", "missing", "Say what the data set is to be called.")
    document = f'{{"name": {json.dumps(name)}, "source": {{"kind": "upload", "upload": "{upload_id}"}}, "options": '
    return parse_as(ImportSpec, f"{document}{'{}' if options is None else options}}}")


def _misplaced(parameter: str) -> Problem:
    return _bad(parameter, "misplaced", "With a JSON body, say it there.")


def _bad(parameter: str, code: str, detail: str) -> Problem:
    place = {"parameter": parameter, "code": code, "detail": detail}
    return Problem(422, "request-invalid", "The query is not valid.", errors=[place])
