"""What a client may not do to its connection: be slow, be large, read nothing, speak something else."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from app.api.deps import unless_gone
from app.connection import HEAD_BYTES
from app.settings import Settings
from app.store import blobs, snapshots
from app.store.snapshots import NewSnapshot
from tests.api.conftest import served
from tests.shop import Shop
from trainer.events import Scores

Dial = Callable[[], socket.socket]
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"


@pytest.fixture
def hasty(sqlite_url: str, broker_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Dial, Shop]]:
    """A server whose clocks run in fractions of a second, and how to call it."""
    monkeypatch.setattr("app.connection.HEAD_SECONDS", 0.3)
    monkeypatch.setattr("app.connection.LINGER_SECONDS", 0.3)
    monkeypatch.setattr("app.connection.UNREAD_SECONDS", 0.5)
    monkeypatch.setattr("app.api.deps.BODY_SECONDS", 0.3)
    settings = Settings(database_url=sqlite_url, broker_url=broker_url, keys="off")
    with served(settings) as (url, engine):
        host, port = url.removeprefix("http://").split(":")

        def dial() -> socket.socket:
            line = socket.socket()
            # Little room, so that what is not read stays with the server.
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            line.settimeout(10)
            line.connect((host, int(port)))
            return line

        yield dial, Shop(engine)


def rest(line: socket.socket) -> bytes:
    """Everything until the server ends the connection."""
    received = b""
    while data := line.recv(65536):
        received += data
    return received


def problem(answer: bytes) -> dict[str, Any]:
    """The problem document of the only answer on a connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    told: dict[str, Any] = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {told['status']} ".encode())
    return told


def test_a_body_that_does_not_come_is_refused_in_words(hasty: tuple[Dial, Shop]) -> None:
    dial, _ = hasty
    with dial() as line:
        line.sendall(POST + b"{")
        told = problem(rest(line))

    assert (told["status"], told["type"]) == (408, "urn:annealer:problem:body-too-slow")


def test_the_rest_of_a_body_is_taken_for_a_moment_so_that_the_answer_is_heard(hasty: tuple[Dial, Shop]) -> None:
    dial, _ = hasty
    with dial() as line:
        line.sendall(POST.replace(b"/v1/jobs", b"/nothing") + b"{")
        assert line.recv(12) == b"HTTP/1.1 404"
        line.sendall(b" " * 100)
        assert rest(line).endswith(b"}")


def test_a_head_that_does_not_end_ends_the_connection(hasty: tuple[Dial, Shop]) -> None:
    dial, _ = hasty
    for begun in (b"", b"GET /healthz HTTP/1.1\r\nX: ", b"\r\n"):
        with dial() as line:
            line.sendall(begun)
            assert ends(line, partial(line.sendall, begun[-2:]))


def ends(line: socket.socket, meanwhile: Callable[[], object]) -> bool:
    """Whether the server ends the connection within seconds, whatever is done to keep it."""
    line.settimeout(0.1)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            meanwhile()
            if not line.recv(65536):
                return True
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


def test_a_head_that_is_too_large_is_refused(hasty: tuple[Dial, Shop]) -> None:
    dial, _ = hasty
    with dial() as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * (HEAD_BYTES + 1))
        told = problem(rest(line))

    assert (told["status"], told["type"]) == (431, "urn:annealer:problem:head-too-large")


def test_what_is_no_request_is_refused_as_a_problem(hasty: tuple[Dial, Shop]) -> None:
    dial, _ = hasty
    with dial() as line:
        line.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        told = problem(rest(line))

    assert (told["status"], told["type"], "instance" in told) == (400, "urn:annealer:problem:malformed", False)


def test_a_client_that_reads_nothing_is_dropped(hasty: tuple[Dial, Shop], tmp_path: Path) -> None:
    dial, shop = hasty
    claim = shop.claimed()
    path = tmp_path / "weights"
    path.write_bytes(b"w" * 8 * 2**20)
    scores = Scores(0.75, 0.25, 0.5)
    shop.record(claim, snapshots=[NewSnapshot(1, 1, 10, scores, {}, blobs.put(shop.engine, path))])
    with shop.look() as session:
        (snapshot,) = snapshots.of_job(session, claim.job_id)
        name = snapshot.id
    with dial() as line:
        line.sendall(f"GET /v1/snapshots/{name}/weights HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(1.5)
        assert ends(line, lambda: None)


def test_a_client_that_waits_and_goes_away_is_waited_for_no_longer() -> None:
    cancelled = asyncio.Event()

    async def news() -> bool:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return True

    async def receive() -> dict[str, str]:
        await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def ask() -> None:
        with pytest.raises(ClientDisconnect):
            await unless_gone(Request({"type": "http"}, receive), news())
        await asyncio.wait_for(cancelled.wait(), 1)

    asyncio.run(ask())
