"""A connection to PostgreSQL that does not wait for ever for a server that says nothing.

A process that is stopped, or a machine that is overloaded, keeps its connections: the kernel goes on taking bytes for
it. Only a client that counts the silence itself notices.
"""

import math
import threading
import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

T = TypeVar("T")

CONNECT_SECONDS = 3
PING_SECONDS = 3.0
SILENCE_SECONDS = 12.0
"""Longer than a statement may take by the server's own clock, which is what ends one that is merely slow."""
QUIET_SECONDS = 1.0
"""How long a server that has let a connection attempt time out is left alone: each attempt holds a thread."""
CHECK_SECONDS = 0.1


class Silent(psycopg.OperationalError):
    """The server has accepted what was said and has not answered."""


class Line(psycopg.Connection[Any]):
    """Closed, with `Silent`, once nothing has come or gone for as long as its work allows."""

    _patience = SILENCE_SECONDS

    def is_busy(self, *, patient: bool) -> None:
        """A transaction begins; with `patient` it may take as long as it likes."""
        self._patience = math.inf if patient else SILENCE_SECONDS

    def is_idle(self) -> None:
        """What is asked next is whether the server is still there."""
        self._patience = PING_SECONDS

    def wait(self, gen: PQGen[T], interval: float = CHECK_SECONDS, timeout: float | None = None) -> T:
        try:
            return super().wait(_impatient(gen, self._patience), interval, timeout)
        except Silent:
            # Whatever comes now would be taken for the answer to something else.
            self.pgconn.finish()
            raise


class Dialler:
    """Makes connections with server options of its own before the user's."""

    def __init__(self, server_options: str) -> None:
        self._server_options = server_options
        self._lock = threading.Lock()
        self._quiet_until = float("-inf")

    def connect(self, *words: Any, **options: Any) -> Line:
        """A new connection. Raises `psycopg.OperationalError`, at once where another attempt has just timed out."""
        with self._lock:
            if time.monotonic() < self._quiet_until:
                raise Silent("the server has just not answered")
        options["options"] = f"{self._server_options} {options.get('options', '')}"
        try:
            return Line.connect(*words, **options)
        except psycopg.errors.ConnectionTimeout:
            with self._lock:
                self._quiet_until = time.monotonic() + QUIET_SECONDS
            raise


def _impatient(gen: PQGen[T], seconds: float) -> Generator[Any, Any, T]:
    """`gen`, until the socket has been ready for nothing for so many seconds. Raises `Silent`."""
    heard = time.monotonic()
    try:
        wish = next(gen)
        while True:
            ready = yield wish
            if ready:
                heard = time.monotonic()
            elif time.monotonic() - heard > seconds:
                raise Silent(f"no answer for {seconds:g} seconds")
            wish = gen.send(ready)
    except StopIteration as end:
        answer: T = end.value
        return answer
