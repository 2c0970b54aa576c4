"""The models that were predicted with lately, for one API process."""

from collections.abc import Callable
from time import monotonic

from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.store.engine import read
from app.store.serving import Served

GOOD_SECONDS = 1.0
"""How long a model is answered with before it is looked for again: it never changes, but may have been deleted."""
MOST = 1_000

Find = Callable[[Session, str], Served]


class Catalogue:
    """What it takes to predict with a model, by its id: asked of the database about once a second."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._entries: dict[str, tuple[float, Served]] = {}

    async def get(self, find: Find, id: str) -> Served:
        """The model that `find` finds in the database. Raises what that raises."""
        until, served = self._entries.get(id, (float("-inf"), None))
        if served is None or monotonic() >= until:
            self._entries.pop(id, None)
            served = await run_in_threadpool(self._look, find, id)
            if len(self._entries) >= MOST:
                self._entries.clear()
            self._entries[id] = monotonic() + GOOD_SECONDS, served
        return served

    def _look(self, find: Find, id: str) -> Served:
        with read(self._engine) as session:
            return find(session, id)
