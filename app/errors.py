"""Errors as problem details (RFC 9457): where it is wrong, what is wrong, what would be right.

No message shows a stack trace, SQL or a path of the server. `type` is stable and tells programs what happened.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from app.store import errors as store
from app.store.engine import is_unavailable
from app.web.rendering import error_page, wants_page
from trainer.document import Document
from trainer.errors import SpecInvalid
from trainer.parsing import pointer

CONTENT_TYPE = "application/problem+json"
RETRY_SECONDS = 2
QUEUE_FULL_SECONDS = 10
UPLOADS_FULL_SECONDS = 60

log = structlog.get_logger()


class Problem(Exception):
    """A refusal with its status: `type` is the last part of a URN, `errors` tells the places."""

    def __init__(
        self,
        status: int,
        type: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.type = type
        self.detail = detail
        self.errors = errors
        self.headers = headers
        self.members = members


def bad_header(name: str, detail: str) -> Problem:
    """A header that cannot be understood."""
    place = {"header": name, "code": "invalid", "detail": detail}
    return Problem(422, "request-invalid", f"The header {name} is not valid.", errors=[place])


def bad_body(error: ValidationError | SpecInvalid, detail: str) -> Problem:
    """A body that is no JSON or does not fit its schema, with a pointer to each place."""
    if isinstance(error, SpecInvalid):
        return Problem(422, "request-invalid", detail, errors=_places(error))
    places = [
        {"pointer": pointer(*mistake["loc"]), "code": mistake["type"], "detail": f"{mistake['msg']}."}
        for mistake in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return Problem(422, "request-invalid", detail, errors=places)


def install(app: FastAPI) -> None:
    """Answer every error with a problem document."""
    for kind, handler in (
        (Problem, _answer_problem),
        (SpecInvalid, _answer_spec),
        (store.StoreError, _answer_store),
        (RequestValidationError, _answer_request),
        (HTTPException, _answer_http),
        (SQLAlchemyError, _answer_database),
    ):
        app.add_exception_handler(kind, handler)  # type: ignore[arg-type]


def respond(request: Request, problem: Problem) -> Response:
    """The problem as an answer to `request`: a document, or a page for somebody who asked for a page."""
    if wants_page(request):
        return error_page(request, problem.status, problem.detail, problem.headers)
    told = document(problem, request.url.path, request.scope.get("request_id"))
    return JSONResponse(told, problem.status, problem.headers, media_type=CONTENT_TYPE)


def document(problem: Problem, path: str | None, request_id: str | None) -> dict[str, Any]:
    """The problem as a document; no path where the request had none that could be read."""
    told: dict[str, Any] = {
        "type": f"urn:annealer:problem:{problem.type}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        **({"instance": path} if path is not None else {}),
        "request_id": request_id,
        **problem.members,
    }
    if problem.errors:
        told["errors"] = list(problem.errors)
    return told


def _answer_problem(request: Request, problem: Problem) -> Response:
    return respond(request, problem)


def _answer_spec(request: Request, error: SpecInvalid) -> Response:
    count = len(error.mistakes)
    detail = f"The spec has {count} mistake{'s' if count > 1 else ''}; nothing was stored."
    places = _places(error)
    text: Document | None = getattr(request.state, "document", None)
    for place in places:
        line = text.line(place["pointer"]) if text else getattr(error, "line", None)
        if line is not None:
            place["line"] = line
    return respond(request, Problem(422, "spec-invalid", detail, errors=places))


def _places(error: SpecInvalid) -> list[dict[str, Any]]:
    return [{"pointer": mistake.pointer, "code": mistake.code, "detail": mistake.detail} for mistake in error.mistakes]


def _answer_store(request: Request, error: store.StoreError) -> Response:
    return respond(request, _store_problem(error))


def _store_problem(error: store.StoreError) -> Problem:
    match error:
        case store.StorageAway():
            log.warning("storage is away", error=str(error))
            detail = "The storage of files cannot be reached; try again in a moment."
            return Problem(503, "storage-unavailable", detail, headers={"Retry-After": str(RETRY_SECONDS)})
        case store.BlobDamaged():
            log.error("a stored file is damaged", error=str(error))
            return Problem(500, "file-damaged", "What is stored of this file is not whole; the server's log says more.")
        case store.NotFound():
            return Problem(404, "not-found", str(error))
        case store.MoveRefused():
            members: dict[str, Any] = {"from": error.before, "to": error.after, "allowed": list(error.allowed)}
            return Problem(409, "move-refused", str(error), **members)
        case store.InUse():
            return Problem(409, "in-use", str(error), needed_by=list(error.users))
        case store.DatasetInUse():
            return Problem(409, "in-use", str(error), needed_by=list(error.jobs))
        case store.DatasetKept() | store.UploadInUse():
            return Problem(409, "in-use", str(error))
        case store.NameTaken():
            place = {"pointer": "/name", "code": "taken", "detail": str(error)}
            return Problem(409, "name-taken", str(error), errors=[place])
        case store.UploadIncomplete():
            return Problem(409, "upload-incomplete", str(error))
        case store.UploadsFull():
            return Problem(429, "uploads-full", str(error), headers={"Retry-After": str(UPLOADS_FULL_SECONDS)})
        case store.PartInvalid():
            return Problem(422, "part-invalid", str(error))
        case store.NotScored():
            return Problem(409, "not-scored", str(error))
        case store.QueueFull():
            return Problem(429, "queue-full", str(error), headers={"Retry-After": str(QUEUE_FULL_SECONDS)})
        case store.KeyReused():
            place = {"header": "Idempotency-Key", "code": "reused", "detail": str(error)}
            return Problem(422, "key-reused", "Use a new key for a new request.", errors=[place])
        case store.KeyInFlight():
            return Problem(409, "key-in-flight", str(error), headers={"Retry-After": "1"})
        case store.CursorInvalid():
            place = {"parameter": "cursor", "code": "invalid", "detail": str(error)}
            return Problem(422, "request-invalid", str(error), errors=[place])
    log.error("store error", error=str(error))
    return Problem(500, "internal", "Something that should be stored is missing or damaged.")


def _answer_request(request: Request, error: RequestValidationError) -> Response:
    places = [_place(details) for details in error.errors()]
    return respond(request, Problem(422, "request-invalid", "The request is not valid.", errors=places))


def _place(details: Mapping[str, Any]) -> dict[str, str]:
    where, *rest = details["loc"]
    kind = {"query": "parameter", "path": "parameter", "header": "header"}.get(where, "pointer")
    name = ".".join(str(part) for part in rest[:1])
    return {kind: name, "code": details["type"], "detail": f"{details['msg']}."}


def _answer_http(request: Request, error: HTTPException) -> Response:
    detail = {404: "There is nothing at this address; see /docs.", 405: "This method is not allowed here."}
    type = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    text = detail.get(error.status_code, str(error.detail))
    return respond(request, Problem(error.status_code, type, text, headers=error.headers))


def _answer_database(request: Request, error: SQLAlchemyError) -> Response:
    if is_unavailable(error):
        log.warning("database is away", error=type(error).__name__)
        detail = "The database cannot be reached; try again in a moment."
        headers = {"Retry-After": str(RETRY_SECONDS)}
        return respond(request, Problem(503, "database-unavailable", detail, headers=headers))
    return answer_unexpected(request, error)


def answer_unexpected(request: Request, error: Exception) -> Response:
    """A 500 that tells nothing of the inside; the log tells it."""
    log.error("request broke", exc_info=error)
    detail = "An unexpected error; the server's log has the details under this request id."
    return respond(request, Problem(500, "internal", detail))
