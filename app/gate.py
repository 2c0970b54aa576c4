"""Lets no request read or write a database that is at another version than this code."""

import asyncio
import time

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import Problem, respond
from app.store.migrate import SchemaMismatch, check_schema

log = structlog.get_logger()

AGREED_SECONDS = 5.0
MISMATCHED_SECONDS = 0.5
"""How long a look at the database's version is good for: a migration ends the one state or the other."""
RETRY_SECONDS = 5


class Gate:
    """Answers 503 under `/v1` while the versions differ; what only asks for health passes."""

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app = app
        self._engine = engine
        self._lock = asyncio.Lock()
        self._mismatch: SchemaMismatch | None = None
        self._good_until = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1/") and (mismatch := await self._look()):
            headers = {"Retry-After": str(RETRY_SECONDS)}
            problem = Problem(503, "schema-mismatch", str(mismatch), headers=headers)
            await respond(Request(scope), problem)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _look(self) -> SchemaMismatch | None:
        if time.monotonic() > self._good_until:
            async with self._lock:
                if time.monotonic() > self._good_until:
                    self._mismatch = await run_in_threadpool(self._check)
                    good = MISMATCHED_SECONDS if self._mismatch else AGREED_SECONDS
                    self._good_until = time.monotonic() + good
        return self._mismatch

    def _check(self) -> SchemaMismatch | None:
        try:
            check_schema(self._engine)
        except SchemaMismatch as error:
            if self._mismatch is None:
                log.error("the database is at another version", error=str(error))
            return error
        except SQLAlchemyError:
            # Whoever needs the database will say that it is away.
            return self._mismatch
        return None
