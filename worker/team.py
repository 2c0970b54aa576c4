"""The children that train one job together, one a device. The first of them reports."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import connection

from worker import forkserver
from worker.order import Order
from worker.wire import Failed, decode

PEER_LOST = "peer_lost"
"""The code of a failure that is another's."""

NOTICE_SECONDS = 30.0
"""For the first to notice that another has failed and to say so; some libraries wait for their peers for ever."""
FOLLOW_SECONDS = 2.0
"""For the others to end as the first has, before they are ended."""


class Team:
    """Running children, the first one's end of the pipe, and the means to end them. All of them print to `output`."""

    def __init__(self, orders: Sequence[Order], output: connection.Connection) -> None:
        self._first, *self._others = [forkserver.start("run", order, output) for order in orders]
        self._lock = threading.Lock()
        self._culprit: int | None = None
        if self._others:
            threading.Thread(target=self._watch, daemon=True, name="team").start()

    @property
    def connection(self) -> connection.Connection:
        """What the first reports comes here, and what it is told goes here."""
        return self._first.connection

    def receive(self) -> bytes | None:
        """The next message of the first, None after the last."""
        return self._first.receive()

    def kill(self) -> None:
        """End all of them and whatever they started, at once."""
        for child in (self._first, *self._others):
            child.kill()

    def join(self) -> tuple[int, Failed | None]:
        """Wait for their end: the exit code of the one that brought it about, and what another than the first says."""
        exit_code = self._first.join()
        if self._others:
            connection.wait([child.sentinel for child in self._others], FOLLOW_SECONDS)
            self._blame()
        failures = [_failure(child) for child in self._others]
        for child in self._others:
            child.kill()
            child.join()
        return self._culprit or exit_code, next(filter(None, failures), None)

    def _watch(self) -> None:
        """End the first when another is gone without it: it might wait for ever for what does not come."""
        waiting: dict[object, forkserver.Child] = {child.sentinel: child for child in self._others}
        while waiting:
            for sentinel in connection.wait([child.sentinel for child in waiting.values()]):
                child = waiting.pop(sentinel)
                if child.exit_code:
                    self._blame()
                    self.kill()
                elif child.connection.poll():
                    connection.wait([self._first.sentinel], NOTICE_SECONDS)
                    self.kill()

    def _blame(self) -> None:
        """Note who of the others has died; once, because those that are ended for it die too."""
        with self._lock:
            if self._culprit is None:
                self._culprit = next(filter(None, (child.exit_code for child in self._others)), 0)


def _failure(child: forkserver.Child) -> Failed | None:
    """What a child that does not report has to say of its own failure."""
    with suppress(EOFError, OSError):
        if child.connection.poll():
            event = decode(child.connection.recv_bytes()).event
            if isinstance(event, Failed) and event.code != PEER_LOST:
                return event
    return None
