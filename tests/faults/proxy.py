"""A TCP proxy on loopback that can do to a connection what networks do: refuse, stall, cut it at a chosen word."""

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

Target = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


@dataclass
class Trap:
    """Springs on the connection that sends `words` in order: `then` is called and the connection is cut.

    With `answered` the last word still reaches the server, whose answer is what gets lost. With `unheard` the server
    is told nothing of the end, as when a machine is gone.
    """

    words: Sequence[bytes]
    from_client: bool = True
    answered: bool = False
    unheard: bool = False
    then: Callable[[], None] = lambda: None
    sprung: threading.Event = field(default_factory=threading.Event)


class Line:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.heard = 0
        self.answer_is_lost = False
        self.is_unheard = False

    def cut(self) -> None:
        """End it on both sides, or on the client's where the server is not to hear of it."""
        for end in (self.client,) if self.is_unheard else (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Listens on a port of its own from its making to `close`; `target` may change at any time."""

    def __init__(self, target: Target | None = None) -> None:
        self.target = target
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._lines: set[Line] = set()
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self._trap: Trap | None = None
        self._refuses = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Refuse everybody, for good."""
        self.refuse()

    def refuse(self) -> None:
        """Cut every connection and refuse new ones."""
        if not self._refuses:
            self._refuses = True
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self.cut()

    def stall(self) -> None:
        """Accept connections and bytes, pass nothing on."""
        self._flows.clear()

    def heal(self) -> None:
        """Work as if nothing had been."""
        self._trap = None
        self._flows.set()
        if self._refuses:
            self._refuses = False
            self._listener = self._listen(self.port)

    def cut(self) -> None:
        """Cut every connection there is now."""
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            line.cut()

    def set(self, trap: Trap) -> Trap:
        """Wait for a connection that says the trap's words. It springs once."""
        self._trap = trap
        return trap

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=256)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._flows.wait()
        try:
            server = self._connect()
        except OSError:
            client.close()
            return
        line = Line(client, server)
        with self._lock:
            self._lines.add(line)
        back = threading.Thread(target=self._pump, args=(line, server, client), daemon=True)
        back.start()
        self._pump(line, client, server)
        back.join()
        with self._lock:
            self._lines.discard(line)
        client.close()
        server.close()

    def _connect(self) -> socket.socket:
        assert self.target is not None
        if isinstance(self.target, tuple):
            return socket.create_connection(self.target)
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self.target)
        except OSError:
            server.close()
            raise
        return server

    def _pump(self, line: Line, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                if not self._passes(line, data, source is line.client):
                    break
                sink.sendall(data)
        line.cut()

    def _passes(self, line: Line, data: bytes, from_client: bool) -> bool:
        trap = self._trap
        if trap is None:
            return True
        if line.answer_is_lost and not from_client:
            self._spring(trap)
            return False
        if trap.from_client != from_client or trap.sprung.is_set():
            return True
        while line.heard < len(trap.words) and trap.words[line.heard] in data:
            line.heard += 1
        if line.heard < len(trap.words):
            return True
        if trap.answered:
            line.answer_is_lost = True
            return True
        line.is_unheard = trap.unheard
        self._spring(trap)
        return False

    def _spring(self, trap: Trap) -> None:
        self._trap = None
        trap.then()
        trap.sprung.set()
