"""A client's connection: how large and how slow a request may be, and how long an answer may stay unread.

uvicorn waits for ever for a head that does not come and for a client that does not read, and holds a head of any size.
Bodies are bounded where they are read (`app.api.deps`).
"""

import json
import socket
import uuid
from asyncio import Transport
from asyncio.events import TimerHandle
from collections.abc import Callable
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.errors import CONTENT_TYPE, Problem, document

HEAD_SECONDS = 10.0
"""From the connection, or a later request's first byte, to the end of the request's head."""
HEAD_BYTES = 64 * 1024
UNREAD_SECONDS = 30.0
"""How long a client may take nothing of an answer."""
UNREAD_BYTES = 128 * 1024
"""How much of an answer the kernel holds beyond what is on its way."""
LINGER_SECONDS = 5.0
"""How long the rest of a body is thrown away that nobody waits for: an end at once could take the answer with it."""


class Connection(HttpToolsProtocol):
    """One connection, with clocks. Each is dropped alone; what it asked for is told that its client is gone."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._is_in_head = True
        self._head_bytes = 0
        self._clocks: dict[str, TimerHandle] = {}
        self._in_hand: RequestResponseCycle | None = None
        _bound_what_is_unread(transport)
        self._start("head", HEAD_SECONDS, self._give_up_the_head)

    def connection_lost(self, exc: Exception | None) -> None:
        for name in tuple(self._clocks):
            self._stop(name)
        self._tell_that_the_client_is_gone()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_in_head:
            self._head_bytes += len(data)
            self._start("head", HEAD_SECONDS, self._give_up_the_head)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(Problem(431, "head-too-large", f"A request's head may have at most {HEAD_BYTES} bytes."))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._stop("head")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_in_head = True
        self._head_bytes = 0
        self._stop("linger")
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._in_hand = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self._is_in_head:
            self._start("linger", LINGER_SECONDS, self._drop)

    def pause_writing(self) -> None:
        self._start("unread", UNREAD_SECONDS, self._drop)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stop("unread")
        super().resume_writing()

    def eof_received(self) -> None:
        self._tell_that_the_client_is_gone()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem(400, "malformed", "This is not an HTTP request."))

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever offers another protocol is answered in this one, which it speaks too."""

    def _refuse(self, problem: Problem) -> None:
        """Answer what no endpoint will see, unless in the midst of another answer, and end the connection."""
        cycle = self._in_hand
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self._write(problem)
        self._tell_that_the_client_is_gone()
        self.transport.close()

    def _write(self, problem: Problem) -> None:
        body = json.dumps(document(problem, None, uuid.uuid4().hex)).encode()
        head = f"content-type: {CONTENT_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[problem.status] + head.encode() + body)

    def _give_up_the_head(self) -> None:
        """A head that came too early, behind a request that is still being answered, has until after the answer."""
        self._stop("head")
        if self._in_hand is None or self._in_hand.response_complete:
            self._drop()
        else:
            self._start("head", HEAD_SECONDS, self._give_up_the_head)

    def _drop(self) -> None:
        self._tell_that_the_client_is_gone()
        self.transport.abort()

    def _tell_that_the_client_is_gone(self) -> None:
        """At once: what is written to a transport that is closing raises. Others may wait behind the one in hand."""
        for cycle in (self._in_hand, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def _start(self, clock: str, seconds: float, then: Callable[[], Any]) -> None:
        if clock not in self._clocks:
            self._clocks[clock] = self.loop.call_later(seconds, then)

    def _stop(self, clock: str) -> None:
        if handle := self._clocks.pop(clock, None):
            handle.cancel()


def _bound_what_is_unread(transport: Transport) -> None:
    """Have the kernel hold little, and give up a client that takes nothing (Linux; elsewhere its own bounds hold)."""
    line = transport.get_extra_info("socket")
    if line is None or line.family not in (socket.AF_INET, socket.AF_INET6):
        return
    for option, value in (("TCP_USER_TIMEOUT", int(UNREAD_SECONDS * 1000)), ("TCP_NOTSENT_LOWAT", UNREAD_BYTES)):
        if hasattr(socket, option):
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
