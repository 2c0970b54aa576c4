"""How clients wait for a job to change at no cost of their own.

One task a process reads the versions of all watched jobs in a single query, again and again while anybody
watches, and wakes those whose job has changed. A thousand waiting clients are one query a tick.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.store import jobs
from app.store.engine import read

log = structlog.get_logger()

MOST_IN_A_QUERY = 500


@dataclass(eq=False)
class _Waiter:
    job_id: str
    version: int
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Watcher:
    """Wakes those who wait for a job's version to become another one."""

    def __init__(self, engine: Engine, tick_seconds: float) -> None:
        self._engine = engine
        self._tick_seconds = tick_seconds
        self._waiters: set[_Waiter] = set()
        self._task: asyncio.Task[None] | None = None
        self.is_closing = False

    async def changed(self, job_id: str, version: int, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the job's version to differ, or the job to be gone."""
        if self.is_closing:
            return False
        waiter = _Waiter(job_id, version)
        self._waiters.add(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(timeout):
                await waiter.woken.wait()
            return not self.is_closing
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)

    def release(self) -> None:
        """Let everybody go without news, because the server is to end; nobody waits any more."""
        self.is_closing = True
        for waiter in self._waiters:
            waiter.woken.set()

    async def close(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while self._waiters:
            try:
                versions = await asyncio.to_thread(self._versions, [w.job_id for w in self._waiters])
            except SQLAlchemyError as error:
                log.warning("versions could not be read", error=type(error).__name__)
            else:
                self._wake(versions)
            await asyncio.sleep(self._tick_seconds)

    def _versions(self, job_ids: list[str]) -> dict[str, int]:
        versions: dict[str, int] = {}
        distinct = sorted(set(job_ids))
        with read(self._engine) as session:
            for start in range(0, len(distinct), MOST_IN_A_QUERY):
                versions |= jobs.versions(session, distinct[start : start + MOST_IN_A_QUERY])
        return versions | {job_id: -1 for job_id in distinct if job_id not in versions}

    def _wake(self, versions: Mapping[str, int]) -> None:
        for waiter in self._waiters:
            if versions.get(waiter.job_id, waiter.version) != waiter.version:
                waiter.woken.set()
