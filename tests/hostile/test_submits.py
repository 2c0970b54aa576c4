"""Many clients that submit at once, and again, because they have not heard."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, func, select

from app.store import engine as engines
from app.store.engine import read
from app.store.models import IdempotencyKey, Job
from tests import servers
from tests.shop import Shop
from tests.specs import document

CLIENTS = 20
SUBMITS = 200
KEYS = 50
AT_ONCE = timedelta(seconds=2)


@pytest.fixture
def service(database_url: str, broker_url: str, tmp_path: Path) -> Iterator[tuple[servers.Api, Engine]]:
    """A server process on each database."""
    with servers.Api(tmp_path, database_url, broker_url) as api:
        engine = engines.create(database_url)
        yield api, engine
        engine.dispose()


def test_two_hundred_submits_at_once_make_one_job_for_each_key_and_keep_their_order(
    service: tuple[servers.Api, Engine],
) -> None:
    api, engine = service
    gate = threading.Barrier(CLIENTS)

    def spec(key: int) -> dict[str, Any]:
        return document(name=f"job {key}", priority=key % 3)

    def client(number: int) -> list[tuple[int, str]]:
        """Every key is sent by four clients, and each of them goes on until it is answered."""
        found = []
        with httpx.Client(base_url=api.url, timeout=60) as http:
            gate.wait()
            for turn in range(SUBMITS // CLIENTS):
                key = (number + turn * CLIENTS) % KEYS
                found.append((key, submitted(http, key, spec(key))))
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = [answer for found in pool.map(client, range(CLIENTS)) for answer in found]

    assert len(answers) == SUBMITS
    jobs = {key: {job for other, job in answers if other == key} for key in range(KEYS)}
    assert all(len(made) == 1 for made in jobs.values())
    with read(engine) as session:
        assert session.scalar(select(func.count()).select_from(Job)) == KEYS
        assert session.scalar(select(func.count()).select_from(IdempotencyKey)) == KEYS
        expected = list(session.scalars(select(Job.id).order_by(Job.priority.desc(), Job.id)))
        made_at = {job.id: (-job.priority, job.created_at) for job in session.scalars(select(Job))}
    shop = Shop(engine)
    claimed = [claim.job_id for _ in range(KEYS + 1) if (claim := shop.claim())]
    assert claimed == expected
    for (priority, earlier), (next_priority, later) in pairwise(made_at[job] for job in claimed):
        assert priority <= next_priority
        # An id is made a moment before its job is stored: of two submits at once either may count as the older.
        assert priority < next_priority or later > earlier - AT_ONCE


def submitted(http: httpx.Client, key: int, spec: dict[str, Any]) -> str:
    """The job of a key, asked for until there is an answer that is not "somebody else is being answered"."""
    while True:
        answer = http.post("/v1/jobs", json=spec, headers={"Idempotency-Key": f"key-{key}"})
        if answer.status_code != 409:
            assert answer.status_code == 201, answer.text
            return str(answer.json()["id"])
        assert answer.json()["type"] == "urn:annealer:problem:key-in-flight"
