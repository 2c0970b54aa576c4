"""Hundreds of clients that wait for jobs to change, and some that never read what they asked for."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from app.connection import UNREAD_SECONDS
from app.store import attempts, blobs
from app.store import engine as engines
from app.store.claims import Claim
from app.store.snapshots import NewSnapshot
from tests import servers
from tests.servers import Template, await_true
from tests.shop import Shop
from trainer.events import Scores

CLIENTS = 500
JOBS = 20
NEWS_SECONDS = 1.0
"""How late a client may learn of a job's end: the promise. A machine that does other things too is given more."""
LOADED = 4.0
MOST_BYTES_A_WATCHER = 128 * 1024
UNREADING = 50
ESTABLISHED = "01"


@pytest.fixture(params=["postgresql", "sqlite"])
def service(
    request: pytest.FixtureRequest, migrated: Callable[[str], Template], broker_url: str, tmp_path: Path
) -> Iterator[tuple[servers.Api, Engine]]:
    """A server process on each database."""
    with migrated(request.param).copy(tmp_path) as url, servers.Api(tmp_path, url, broker_url) as api:
        engine = engines.create(url)
        yield api, engine
        engine.dispose()


def memory(pid: int) -> int:
    """Bytes that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


class Client:
    """A client on a socket of its own that asks again and again, or listens, until it is told that its job is over."""

    def __init__(self, address: tuple[str, int], job: str, streams: bool) -> None:
        self._address = address
        self.job = job
        self._streams = streams
        self.waits = asyncio.Event()
        self.told_at = 0.0

    async def run(self) -> None:
        """Until the final state."""
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            await (self._listen(reader, writer) if self._streams else self._ask(reader, writer))
        finally:
            writer.close()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._request(f"/v1/jobs/{self.job}/events", "Accept: text/event-stream"))
        while line := await reader.readline():
            self.waits.set()
            if line == b"event: succeeded\n":
                self.told_at = time.monotonic()
                return

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        etag = ""
        while not self.told_at:
            writer.write(
                self._request(
                    f"/v1/jobs/{self.job}", "Prefer: wait=60", *([f"If-None-Match: {etag}"] if etag else ["X: y"])
                )
            )
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            headers = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            etag = headers["etag"]
            self.waits.set()
            if b'"status":"succeeded"' in body:
                self.told_at = time.monotonic()

    def _request(self, path: str, *headers: str) -> bytes:
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]
        return "\r\n".join(lines).encode()


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_five_hundred_clients_learn_of_each_end_at_once(service: tuple[servers.Api, Engine]) -> None:
    api, engine = service
    shop = Shop(engine)
    url = httpx.URL(api.url)
    claims = [shop.claimed(name=f"job {number}", lease=600) for number in range(JOBS)]
    ended: dict[str, float] = {}

    def report(claim: Claim) -> None:
        for epoch in range(3):
            shop.record(claim, events=[("note", f"Epoch {epoch}.", {})])
            time.sleep(0.1)
        shop.act(attempts.succeed, claim.job_id, claim.attempt)
        ended[claim.job_id] = time.monotonic()

    async def watch() -> tuple[list[Client], int]:
        address = (url.host, url.port or 0)
        clients = [Client(address, claims[number % JOBS].job_id, number % 2 == 0) for number in range(CLIENTS)]
        before = memory(api.pid)
        # Those who ask are answered at once the first time but for those who know what there is.
        tasks = [asyncio.create_task(client.run()) for client in clients]
        for client in clients[::2]:
            await client.waits.wait()
        await asyncio.sleep(2)
        held = memory(api.pid) - before
        for claim in claims:
            await asyncio.to_thread(report, claim)
        await asyncio.gather(*tasks)
        return clients, held

    clients, held = asyncio.run(watch())

    late = sorted(client.told_at - ended[client.job] for client in clients)
    print(
        f"{CLIENTS} clients of {JOBS} jobs: told of the end after {late[len(late) // 2] * 1000:.0f} ms (median),"
        f" {late[-1] * 1000:.0f} ms (last); {held / CLIENTS / 1024:.1f} kB a watcher"
    )
    assert late[-1] < NEWS_SECONDS * LOADED
    assert held / CLIENTS < MOST_BYTES_A_WATCHER
    await_true(lambda: connections(api) < 10, 10)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_clients_that_never_read_are_dropped_and_hold_nothing(
    service: tuple[servers.Api, Engine], tmp_path: Path
) -> None:
    """Each asks for a file larger than all buffers, and takes none of it."""
    api, engine = service
    shop = Shop(engine)
    claim = shop.claimed(name="done")
    path = tmp_path / "weights"
    path.write_bytes(b"w" * 24 * 2**20)
    scores = Scores(0.75, 0.25, 0.5)
    shop.record(claim, snapshots=[NewSnapshot(1, 1, 10, scores, {"n": 1}, blobs.put(engine, path))])
    (snapshot,) = httpx.get(f"{api.url}/v1/jobs/{claim.job_id}/snapshots").json()["items"]
    with ThreadPoolExecutor(UNREADING) as readers:
        # What so many who do read leave in the allocator is nobody's.
        list(readers.map(lambda _: httpx.get(f"{api.url}{snapshot['weights']}", timeout=60), range(UNREADING)))
    usual, before = connections(api), memory(api.pid)
    url = httpx.URL(api.url)

    with ExitStack() as open_lines:
        for _ in range(UNREADING):
            line = open_lines.enter_context(socket.create_connection((url.host, url.port or 0)))
            line.sendall(f"GET {snapshot['weights']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(5)
        held = memory(api.pid) - before
        began = time.monotonic()
        others = httpx.get(f"{api.url}/v1/jobs", timeout=20)
        waited = time.monotonic() - began
        print(f"{UNREADING} clients that read nothing hold {held / UNREADING / 1024:.0f} kB each;", end=" ")
        print(f"another waits {waited:.2f} s")
        await_true(lambda: connections(api) <= usual, UNREAD_SECONDS * 2)

    assert others.status_code == 200
    assert held / UNREADING < 2 * 2**20


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_slow_heads_and_bodies_end_and_are_told(service: tuple[servers.Api, Engine]) -> None:
    """A byte now and then keeps no connection open; whoever promised a body and sends none is told in words."""
    api, _ = service
    url = httpx.URL(api.url)
    usual = connections(api)
    post = (
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
    )
    begins = {
        "a head": b"GET /v1/jobs HTTP/1.1\r\nX: ",
        "nothing": b"",
        "lines": b"\r\n",
        "a body": post,
        "an unread body": post.replace(b"jobs ", b"none "),
    }
    drips = {"lines": b"\r\n", "nothing": b""}
    received: dict[str, bytes] = {}

    def drip(name: str) -> None:
        answer = b""
        with socket.create_connection((url.host, url.port or 0), timeout=1) as line, suppress(ConnectionError):
            line.sendall(begins[name])
            while True:
                with suppress(TimeoutError):
                    if not (data := line.recv(65536)):
                        break
                    answer += data
                line.sendall(drips.get(name, b" "))
        received[name] = answer

    clients = [threading.Thread(target=drip, args=(name,)) for name in begins for _ in range(10)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(60)

    assert set(received) == set(begins)
    assert received["a body"].startswith(b"HTTP/1.1 408")
    assert b"body-too-slow" in received["a body"]
    assert received["an unread body"].startswith(b"HTTP/1.1 404")
    assert received["a head"] == received["nothing"] == received["lines"] == b""
    await_true(lambda: connections(api) <= usual, 10)


def connections(api: servers.Api) -> int:
    """Clients' connections that the server has open."""
    port = f"{httpx.URL(api.url).port or 0:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(local.endswith(f":{port}") and state == ESTABLISHED for _, local, _, state, *_ in lines)
