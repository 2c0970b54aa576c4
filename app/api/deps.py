"""What endpoints take from their request."""

from typing import Annotated

from fastapi import Depends, Header, Path, Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from sqlalchemy import Engine

from app.errors import Problem, bad_header
from app.notify import Watcher
from app.queue import Bell
from app.settings import Settings
from app.store.engine import read
from app.store.jobs import DEFAULT_OWNER, get

LONGEST_WAIT = 60
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

Id = Annotated[str, Path(max_length=100, pattern=NAME)]
"""What every id and name in an address looks like."""


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


def _bell(request: Request) -> Bell:
    bell: Bell = request.app.state.bell
    return bell


def _watcher(request: Request) -> Watcher:
    watcher: Watcher = request.app.state.watcher
    return watcher


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _owner(
    annealer_owner: Annotated[
        str, Header(max_length=100, pattern=NAME, description="Whose job it is: owners take turns.")
    ] = DEFAULT_OWNER,
) -> str:
    return annealer_owner


EngineOf = Annotated[Engine, Depends(_engine)]
BellOf = Annotated[Bell, Depends(_bell)]
WatcherOf = Annotated[Watcher, Depends(_watcher)]
SettingsOf = Annotated[Settings, Depends(_settings)]
OwnerOf = Annotated[str, Depends(_owner)]


def refuse_unknown_parameters(request: Request) -> None:
    """A misspelt query parameter would otherwise be a filter that filters nothing."""
    route = request.scope["route"]
    if not request.query_params or not isinstance(route, APIRoute):
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
    return await _bounded(request, settings.max_body_bytes)


async def _optional_json_body(request: Request, settings: SettingsOf) -> bytes:
    """The same, and nothing where nothing comes."""
    body = await _bounded(request, settings.max_body_bytes)
    if body:
        _demand_json(request)
    return body


def _demand_json(request: Request) -> None:
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        detail = f"Send JSON with Content-Type: application/json, not {kind or 'nothing'}."
        raise Problem(415, "unsupported-media-type", detail)


async def _bounded(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Problem(413, "body-too-large", f"A body may have at most {limit} bytes.")
    return bytes(body)


JsonBody = Annotated[bytes, Depends(_json_body)]
OptionalJsonBody = Annotated[bytes, Depends(_optional_json_body)]


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


def matches(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match header holds the ETag."""
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags


def require_job(engine: Engine, job_id: str) -> None:
    """Raise `NotFound` unless there is such a job."""
    with read(engine) as session:
        get(session, job_id)
