"""What endpoints take from their request."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from hashlib import sha256
from tempfile import TemporaryFile
from typing import Annotated, Any, BinaryIO, TypeVar

from fastapi import Depends, Header, Path, Request, Security, params
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer, SecurityScopes
from pydantic import BaseModel, ValidationError
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.requests import ClientDisconnect

from app.access import Caller, missing_scope
from app.catalogue import Catalogue
from app.errors import Problem, bad_body, bad_header
from app.notify import Watcher
from app.predictor import Predictor
from app.queue import Bell
from app.settings import Settings
from app.store import ensembles, jobs, snapshots, uploads
from app.store.engine import read
from app.store.errors import NotFound
from app.store.jobs import DEFAULT_OWNER, Idempotency
from app.store.scopes import Scope
from app.web.rendering import is_page
from trainer import document
from trainer.errors import SpecInvalid
from trainer.parsing import load

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

LONGEST_WAIT = 60
PIECE_BYTES = 1024 * 1024
BODY_SECONDS = 30.0
"""How long a body may take to come."""
FILE_SECONDS = 600.0
"""How long a part of a file may, or a small one: a part of the usual size within that is some 14 kB a second."""
YAML = "application/yaml"
LARGEST_YAML_BYTES = 64 * 1024
"""A spec has a few hundred lines at most, and reading YAML takes a hundred times as long as reading JSON."""
KEY = re.compile(r"[\x21-\x7e]{1,200}")
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
BEARER = HTTPBearer(
    scheme_name="key",
    bearerFormat="ann_…",
    description="A key that `annealer keys create` has made. None is asked for where the API serves its machine alone.",
    auto_error=False,
)

Id = Annotated[str, Path(max_length=100, pattern=NAME)]
"""What every id and name in an address looks like."""


async def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


async def _bell(request: Request) -> Bell:
    bell: Bell = request.app.state.bell
    return bell


async def _watcher(request: Request) -> Watcher:
    watcher: Watcher = request.app.state.watcher
    return watcher


async def _predictor(request: Request) -> Predictor:
    predictor: Predictor = request.app.state.predictor
    return predictor


async def _catalogue(request: Request) -> Catalogue:
    catalogue: Catalogue = request.app.state.catalogue
    return catalogue


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _caller(request: Request, needed: SecurityScopes, _: Annotated[object, Depends(BEARER)]) -> Caller:
    caller = _named(request)
    for scope in map(Scope, needed.scopes):
        if not caller.scope.covers(scope):
            raise missing_scope(scope)
    return caller


def _named(request: Request) -> Caller:
    caller: Caller | Exception = request.scope["caller"]
    if isinstance(caller, Exception):
        raise caller
    return caller


Reader = Annotated[Caller, Security(_caller, scopes=[Scope.READ])]
Submitter = Annotated[Caller, Security(_caller, scopes=[Scope.SUBMIT])]
Admin = Annotated[Caller, Security(_caller, scopes=[Scope.ADMIN])]
"""Who asks, as an endpoint's first parameter: it decides what kind of key is asked for, before anything is read."""


async def _owner(
    request: Request,
    annealer_owner: Annotated[
        str | None,
        Header(
            max_length=100,
            pattern=NAME,
            description="Whose job it is where no keys are asked for: owners take turns. Else it is the key's.",
        ),
    ] = None,
) -> str:
    caller = _named(request)
    if caller.owner is None:
        return annealer_owner or DEFAULT_OWNER
    if annealer_owner not in (None, caller.owner):
        raise bad_header("Annealer-Owner", f"What this key submits is {caller.owner}'s; leave the header out.")
    return caller.owner


EngineOf = Annotated[Engine, Depends(_engine)]
BellOf = Annotated[Bell, Depends(_bell)]
WatcherOf = Annotated[Watcher, Depends(_watcher)]
PredictorOf = Annotated[Predictor, Depends(_predictor)]
CatalogueOf = Annotated[Catalogue, Depends(_catalogue)]
SettingsOf = Annotated[Settings, Depends(_settings)]
OwnerOf = Annotated[str, Depends(_owner)]


async def _own_job(request: Request, job_id: Id, engine: EngineOf) -> str:
    return await _own(request, "job", job_id, engine, jobs.owner)


async def _own_snapshot(request: Request, snapshot_id: Id, engine: EngineOf) -> str:
    return await _own(request, "snapshot", snapshot_id, engine, snapshots.owner)


async def _own_ensemble(request: Request, ensemble_id: Id, engine: EngineOf) -> str:
    return await _own(request, "ensemble", ensemble_id, engine, ensembles.owner)


async def _own_upload(request: Request, upload_id: Id, engine: EngineOf) -> str:
    return await _own(request, "upload", upload_id, engine, uploads.owner)


async def _own(request: Request, kind: str, id: str, engine: Engine, owner: Callable[[Session, str], str]) -> str:
    """The id of an object that the caller may see. Owners never change, and so it stays true."""
    caller = _named(request)
    if caller.sees is not None and await run_in_threadpool(_owner_of, engine, owner, id) != caller.sees:
        raise NotFound(kind, id)
    return id


def _owner_of(engine: Engine, owner: Callable[[Session, str], str], id: str) -> str:
    with read(engine) as session:
        return owner(session, id)


JobId = Annotated[str, Depends(_own_job)]
SnapshotId = Annotated[str, Depends(_own_snapshot)]
EnsembleId = Annotated[str, Depends(_own_ensemble)]
UploadId = Annotated[str, Depends(_own_upload)]
"""Ids of objects of the caller's own: those of others are not found, as if there were none."""


async def refuse_unknown_parameters(request: Request) -> None:
    """A misspelt query parameter would otherwise be a filter that filters nothing.

    The dashboard's pages keep their own there. Who may not come in is told that first, by the endpoint.
    """
    route = request.scope["route"]
    if is_page(request.url.path):
        return
    if not request.query_params or not isinstance(route, APIRoute) or isinstance(request.scope["caller"], Exception):
        return
    fields = get_flat_params(route.dependant)
    known = {field.alias for field in fields if isinstance(field.field_info, params.Query)}
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        instead = f"Known here: {', '.join(sorted(known))}." if known else "None is known here."
        places = [
            {
                "parameter": name,
                "code": "unknown_parameter",
                "detail": f"There is no such parameter. {instead}",
            }
            for name in unknown
        ]
        raise Problem(422, "request-invalid", "The query has unknown parameters.", errors=places)


async def _json_body(request: Request, settings: SettingsOf) -> bytes:
    """The body as it comes, refused once it is over the limit, whatever Content-Length says."""
    _demand_json(request)
    return await bounded(request, settings.max_body_bytes)


async def _spec_body(request: Request, settings: SettingsOf) -> bytes:
    """A spec as JSON, whether it comes so or as YAML, whose text is kept to tell lines by."""
    if content_type(request) != YAML:
        _demand_json(request, " or YAML with application/yaml")
        return await bounded(request, settings.max_body_bytes)
    body = await bounded(request, min(settings.max_body_bytes, LARGEST_YAML_BYTES))
    found = await run_in_threadpool(document.load, body)
    request.state.document = found
    return found.json


async def _optional_json_body(request: Request, settings: SettingsOf) -> bytes:
    """The same, and nothing where nothing comes."""
    body = await bounded(request, settings.max_body_bytes)
    if body:
        _demand_json(request)
    return body


def _demand_json(request: Request, instead: str = "") -> None:
    kind = content_type(request)
    if kind != "application/json":
        detail = f"Send JSON with Content-Type: application/json{instead}, not {kind or 'nothing'}."
        raise Problem(415, "unsupported-media-type", detail)


def content_type(request: Request) -> str:
    """What the body is said to be, without parameters."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


async def chunks(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes. Raises `Problem` once it is over the limit."""
    length = 0
    async for chunk in request.stream():
        length += len(chunk)
        if length > limit:
            raise Problem(413, "body-too-large", f"A body may have at most {limit} bytes.")
        yield chunk


@asynccontextmanager
async def body_in_time() -> AsyncIterator[None]:
    """Reads a body within the time that there is for it. Raises `Problem` after that."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            yield
    except TimeoutError:
        detail = f"The body has not come within {BODY_SECONDS:g} seconds."
        raise Problem(408, "body-too-slow", detail) from None


async def bounded(request: Request, limit: int) -> bytes:
    """The whole body. Raises `Problem` once it is over the limit, or comes too slowly."""
    async with body_in_time():
        return b"".join([chunk async for chunk in chunks(request, limit)])


@asynccontextmanager
async def spooled(request: Request, limit: int) -> AsyncIterator[BinaryIO]:
    """The body as a file on the disk, gone in the end; memory holds a piece. Refused once it is over the limit."""
    with TemporaryFile(prefix="annealer-") as file:
        try:
            async with asyncio.timeout(FILE_SECONDS):
                await _spool(request, limit, file)
        except TimeoutError:
            raise Problem(408, "body-too-slow", f"The file has not come within {FILE_SECONDS:g} seconds.") from None
        yield file


async def _spool(request: Request, limit: int, file: BinaryIO) -> None:
    pieces, held, total = [], 0, 0
    async for chunk in request.stream():
        pieces.append(chunk)
        held, total = held + len(chunk), total + len(chunk)
        if total > limit:
            raise Problem(413, "body-too-large", f"This body may have at most {limit} bytes.")
        if held >= PIECE_BYTES:
            await run_in_threadpool(file.writelines, pieces)
            pieces, held = [], 0
    await run_in_threadpool(file.writelines, pieces)
    await run_in_threadpool(file.flush)


def read_body(kind: type[M], body: bytes, detail: str) -> M:
    """A document that is no spec, read as strictly as one is. Raises `Problem` with `detail`."""
    try:
        text, _ = load(body)
        return kind.model_validate_json(text)
    except (SpecInvalid, ValidationError) as error:
        raise bad_body(error, detail) from None


async def unless_gone(request: Request, waiting: Coroutine[Any, Any, T]) -> T:
    """What comes of `waiting`. Raises `ClientDisconnect` as soon as nobody is there to be told."""
    gone = asyncio.ensure_future(_gone(request))
    answer = asyncio.ensure_future(waiting)
    try:
        await asyncio.wait((gone, answer), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        for task in (gone, answer):
            task.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


JsonBody = Annotated[bytes, Depends(_json_body)]
SpecBody = Annotated[bytes, Depends(_spec_body)]
OptionalJsonBody = Annotated[bytes, Depends(_optional_json_body)]


def idempotency_of(owner: str, key: str | None, body: bytes) -> Idempotency | None:
    """What an `Idempotency-Key` stands for. Raises `Problem` for what is none."""
    if key is None:
        return None
    if not KEY.fullmatch(key):
        raise bad_header("Idempotency-Key", "Give 1 to 200 printable ASCII characters without spaces.")
    return Idempotency(key, sha256(body).hexdigest(), owner)


def wait_seconds(request: Request) -> int | None:
    """N of `Prefer: wait=N`; other preferences are for others. Raises `Problem` for a bad number."""
    for preference in request.headers.get("Prefer", "").split(","):
        name, _, value = preference.strip().partition("=")
        if name.strip().lower() != "wait":
            continue
        value = value.strip()
        if not (value.isascii() and value.isdigit()) or len(value) > 3 or int(value) > LONGEST_WAIT:
            raise bad_header("Prefer", f"Give wait=N with whole seconds from 0 to {LONGEST_WAIT}.")
        return int(value)
    return None


def resume_after(last_event_id: str | None) -> int:
    """Where a stream goes on, 0 for the start. Raises `Problem` for what no stream has sent."""
    if not last_event_id:
        return 0
    if not (last_event_id.isascii() and last_event_id.isdigit()) or len(last_event_id) > 15:
        raise bad_header("Last-Event-ID", "Give the id of an event of this stream.")
    return int(last_event_id)


def matches(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match header holds the ETag."""
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags


def require_job(engine: Engine, job_id: str) -> None:
    """Raise `NotFound` unless there is such a job."""
    with read(engine) as session:
        jobs.get(session, job_id)
