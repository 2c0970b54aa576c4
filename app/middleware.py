"""What every answer carries: the request's id and the headers that keep browsers careful."""

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import telemetry
from app.errors import answer_unexpected

log = structlog.get_logger()

SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
UNLOGGED = {"/healthz", "/readyz", "/metrics"}


class Trace:
    """Gives each request an id, or keeps the client's, and logs it once, with its status and time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("X-Request-ID", "")
        request_id = given if SANE_ID.fullmatch(given) else uuid.uuid4().hex
        scope["request_id"] = request_id
        began = time.monotonic()
        status = 0
        answered = began

        async def stamp(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = time.monotonic()
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Referrer-Policy", "no-referrer")
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, stamp)
            except ClientDisconnect:
                # Nobody is left to be answered.
                pass
            except Exception as error:
                if status:
                    # The answer has begun: all that is left is to cut it off.
                    raise
                await answer_unexpected(Request(scope), error)(scope, receive, stamp)
            finally:
                route = getattr(scope.get("route"), "path", None)
                telemetry.count_request(route, scope["method"], status, answered - began)
                if scope["path"] not in UNLOGGED:
                    milliseconds = round((time.monotonic() - began) * 1000, 1)
                    about = {
                        "job": scope.get("path_params", {}).get("job_id"),
                        "key": getattr(scope.get("caller"), "key_prefix", None),
                    }
                    log.info(
                        "request",
                        method=scope["method"],
                        path=scope["path"],
                        status=status,
                        milliseconds=milliseconds,
                        **{name: value for name, value in about.items() if value},
                    )
