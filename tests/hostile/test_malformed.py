"""Thousands of malformed requests: no 5xx, no memory that stays, nothing stored, every refusal in words."""

import json
import re
import secrets
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from sqlalchemy import Engine, select

from app.store import blobs, keys
from app.store import engine as engines
from app.store.engine import read
from app.store.models import ApiKey, Base, Worker
from app.store.scopes import Scope
from app.store.snapshots import NewSnapshot
from tests import servers
from tests.hostile.malformed import Attack, Attacker
from tests.servers import Template
from tests.shop import Shop
from trainer.events import Scores

MOST_GROWTH_BYTES = 64 * 1024 * 1024
"""How much more memory a server may hold after any number of malformed requests than after the first hundred."""
AT_ONCE = 8
WARM = 100
ANSWER_SECONDS = 20.0


@dataclass
class Target:
    """A server that asks for keys, with a job that is queued, one that is finished, and a snapshot."""

    api: servers.Api
    engine: Engine
    key: str
    victims: list[str]
    snapshots: list[str]

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        url = httpx.URL(self.api.url)
        return url.host, url.port or 0

    @property
    def host(self) -> str:
        """What a client's Host header says."""
        return httpx.URL(self.api.url).netloc.decode()

    @property
    def memory(self) -> int:
        """Bytes that its process holds."""
        words = Path(f"/proc/{self.api.pid}/statm").read_text().split()
        return int(words[1]) * 4096

    def digest(self) -> str:
        """A hash over all that is stored. When a key was last used is no secret of its user's."""
        digest = sha256()
        with read(self.engine) as session:
            for table in Base.metadata.sorted_tables:
                columns = [column for column in table.columns if column is not ApiKey.__table__.c.last_used_at]
                if table is not Worker.__table__:
                    rows = sorted(repr(tuple(row)) for row in session.execute(select(*columns)))
                    digest.update(json.dumps([table.name, rows]).encode())
        return digest.hexdigest()


@dataclass
class Report:
    """What a bombardment has shown."""

    statuses: Counter[int] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)


@pytest.fixture
def target(
    request: pytest.FixtureRequest, migrated: Callable[[str], Template], broker_url: str, tmp_path: Path
) -> Iterator[Target]:
    """A server process on the kind of database that the test names."""
    with migrated(request.param).copy(tmp_path) as url:
        engine = engines.create(url)
        shop = Shop(engine)
        _, key = shop.act(
            lambda session: keys.create(session, name="k", owner="a", scope=Scope.ADMIN, expires_days=None)
        )
        finished = shop.claimed(name="done")
        path = tmp_path / "weights"
        path.write_bytes(bytes(range(256)) * 400)
        scores = Scores(0.75, 0.25, 0.5)
        shop.record(finished, snapshots=[NewSnapshot(1, 1, 10, scores, {"n": 1}, blobs.put(engine, path))])
        victims = [finished.job_id, shop.submit(name="waits").id]
        with servers.Api(tmp_path, url, broker_url, keys="required") as api:
            headers = {"Authorization": f"Bearer {key}"}
            found = httpx.get(f"{api.url}/v1/jobs/{finished.job_id}/snapshots", headers=headers).json()["items"]
            yield Target(api, engine, key, victims, [snapshot["id"] for snapshot in found])
            logged = api.log.read_text()
            assert "request broke" not in logged
            assert "Exception in ASGI" not in logged
        engine.dispose()


@pytest.mark.parametrize("target", ["sqlite", "postgresql"], indirect=True)
def test_hundreds_of_malformed_requests_do_nothing(target: Target) -> None:
    bombard(target, seed=1, count=250)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("target", "count"), [("sqlite", 2_000), ("postgresql", 10_000)], indirect=["target"])
def test_ten_thousand_malformed_requests_do_nothing(target: Target, count: int) -> None:
    bombard(target, seed=secrets.randbelow(10**6), count=count)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("target", ["postgresql"], indirect=True)
def test_what_the_document_leads_to_is_answered_as_it_says(target: Target) -> None:
    """As schemathesis draws requests from it, right and wrong ones, until each operation has had a hundred."""
    headers = {"Authorization": f"Bearer {target.key}"}
    schema = schemathesis.openapi.from_url(f"{target.api.url}/openapi.json")
    for result in schema.get_all_operations():
        cases = result.ok().as_strategy()

        @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(cases)
        def call(case: Any) -> None:
            case.call_and_validate(
                base_url=target.api.url, headers=headers, timeout=60, excluded_checks=[positive_data_acceptance]
            )

        call()
    assert httpx.get(f"{target.api.url}/healthz").status_code == 200


def bombard(target: Target, seed: int, count: int) -> None:
    """Send so many attacks, some at once, and hold the server to its promises."""
    print(f"seed {seed}")
    attacker = Attacker(seed, target.host, target.victims, target.snapshots, target.key)
    before = target.digest()
    report = Report()
    lock = threading.Lock()

    def attack(_: int) -> None:
        with lock:
            drawn = attacker.draw()
        answers = sent(target.address, drawn)
        with lock:
            report.statuses.update(status for status, _, _ in answers)
            report.mistakes.extend(mistakes(drawn, answers))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(attack, range(WARM)))
        warm = target.memory
        list(pool.map(attack, range(count - WARM)))
    grown = target.memory - warm
    print(f"{count} requests: {dict(sorted(report.statuses.items()))}; memory {warm >> 20} MiB, {grown / 2**20:+.1f}")

    assert report.mistakes == []
    assert httpx.get(f"{target.api.url}/healthz").status_code == 200
    assert target.digest() == before
    assert grown < MOST_GROWTH_BYTES


Answer = tuple[int, dict[str, str], bytes]


def sent(address: tuple[str, int], attack: Attack) -> list[Answer]:
    """The answers to an attack, each as status, headers and body, until the server ends the connection or is quiet."""
    received = b""
    with socket.create_connection(address, timeout=ANSWER_SECONDS) as line:
        with suppress(OSError):
            line.sendall(attack.data)
            if attack.half_closed:
                line.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            while data := line.recv(65536):
                received += data
                if _is_whole(received) and not attack.half_closed and attack.kind != "pipelined":
                    break
    return list(_answers(received))


def mistakes(attack: Attack, answers: list[Answer]) -> Iterator[str]:
    """What is wrong with the answers to an attack."""
    told = f"{attack.kind}: {attack.data[:3000]!r}"
    if not answers and not attack.mute:
        yield f"no answer to {told}"
    for status, headers, body in answers:
        if status >= 500:
            yield f"{status} to {told}: {body[:300]!r}"
        elif status < 400 and attack.refused and not (attack.mute and status in (200, 307)):
            yield f"{status} to {told}"
        elif status >= 400 and body:
            yield from _unclear(status, headers, body, told)


def _unclear(status: int, headers: dict[str, str], body: bytes, told: str) -> Iterator[str]:
    """A refusal must be a problem document with a detail and, where a place can be told, the place."""
    if headers.get("content-type") != "application/problem+json":
        yield f"{status} is no problem document to {told}: {body[:300]!r}"
        return
    problem = json.loads(body)
    if problem["status"] != status or len(problem["detail"]) < 10:
        yield f"an unclear {status} to {told}: {problem}"
    places = problem.get("errors", [])
    if status == 422 and not places:
        yield f"a 422 without a place to {told}: {problem}"
    if not all({"pointer", "parameter", "header"} & set(place) and place["detail"] for place in places):
        yield f"a place that says nothing to {told}: {problem}"


def _answers(received: bytes) -> Iterator[Answer]:
    while (head := re.match(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n(.*?)\r\n\r\n", received, re.DOTALL)) is not None:
        lines = [line.split(": ", 1) for line in head[2].decode("latin-1").split("\r\n")]
        headers = {name.lower(): value for name, value in lines}
        length = int(headers.get("content-length", 0))
        yield int(head[1]), headers, received[head.end() : head.end() + length]
        received = received[head.end() + length :]


def _is_whole(received: bytes) -> bool:
    """Whether one answer has come; streams have no length and are not waited for."""
    head, end, rest = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(end) and (length is None or len(rest) >= int(length[1]) or head.startswith(b"HTTP/1.1 304"))
