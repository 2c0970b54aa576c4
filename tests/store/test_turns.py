"""Whose turn it is."""

import time
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, event, text, update

from app.store import attempts, jobs, turns, wishes
from app.store import engine as engines
from app.store.clock import ago, now
from app.store.engine import read
from app.store.errors import QueueFull
from app.store.models import Attempt, Job
from tests.shop import ONE_CPU, Shop


def submitted(shop: Shop, owner: str = "default", **changes: Any) -> str:
    return shop.submit(options={"owner": owner}, **changes).id


def taken(shop: Shop) -> str | None:
    claim = shop.claim()
    return claim.job_id if claim else None


def used(shop: Shop, owner: str, seconds: float, *, ended_ago: float = 0) -> None:
    """A job of the owner's that has run for so long, and is done."""
    submitted(shop, owner, priority=100)
    claim = shop.claim()
    assert claim is not None
    shop.act(attempts.succeed, claim.job_id, claim.attempt)
    times = {"started_at": ago(ended_ago + seconds), "ended_at": ago(ended_ago)}
    shop.act(lambda session: session.execute(update(Attempt).where(Attempt.job_id == claim.job_id).values(**times)))


def test_the_highest_priority_goes_first_then_age(shop: Shop) -> None:
    usual, low, high, later = (submitted(shop, priority=priority) for priority in (0, -5, 5, 0))

    assert [taken(shop) for _ in range(5)] == [high, usual, later, low, None]


def test_of_two_owners_the_one_who_used_less_lately_goes_first(shop: Shop) -> None:
    used(shop, "greedy", 3600)
    used(shop, "modest", 60)
    first, second = submitted(shop, "greedy"), submitted(shop, "modest")

    assert [taken(shop), taken(shop)] == [second, first]


def test_a_higher_priority_goes_before_a_fair_share(shop: Shop) -> None:
    used(shop, "greedy", 3600)
    submitted(shop, "modest")
    urgent = submitted(shop, "greedy", priority=1)

    assert taken(shop) == urgent


def test_use_of_long_ago_is_forgotten(shop: Shop) -> None:
    used(shop, "long ago", 3600, ended_ago=turns.LATELY_SECONDS + 60)
    used(shop, "lately", 60)
    first, second = submitted(shop, "lately"), submitted(shop, "long ago")

    assert [taken(shop), taken(shop)] == [second, first]


def test_owners_whose_jobs_begin_take_turns(shop: Shop) -> None:
    mine = [submitted(shop, "me") for _ in range(3)]
    yours = submitted(shop, "you")

    assert taken(shop) == mine[0]
    # Use is measured in milliseconds on SQLite.
    time.sleep(0.005)
    assert taken(shop) == yours


def test_places_in_the_line_are_by_priority_then_by_turns_of_owners(shop: Shop) -> None:
    mine = [submitted(shop, "me") for _ in range(2)]
    yours = [submitted(shop, "you") for _ in range(2)]
    urgent = submitted(shop, "me", priority=3)

    with shop.look() as session:
        found = [jobs.get(session, job_id) for job_id in (*mine, *yours, urgent)]
        places = turns.positions(session, found)

    assert sorted(places, key=places.__getitem__) == [urgent, mine[0], yours[0], mine[1], yours[1]]


def test_a_paused_job_has_no_place_in_the_line(shop: Shop) -> None:
    job = shop.submit()
    shop.act(wishes.pause, job.id)

    with shop.look() as session:
        assert turns.positions(session, [jobs.get(session, job.id)]) == {}


def test_a_full_queue_takes_no_more_but_knows_its_jobs(shop: Shop) -> None:
    options = {"max_queued": 2}
    first = shop.submit(key="a", options=options)
    shop.submit(options=options)

    with pytest.raises(QueueFull, match="2 jobs wait"):
        shop.submit(options=options)
    assert shop.submit(key="a", options=options).id == first.id

    shop.claim()
    shop.submit(options=options)


def test_what_may_run_is_what_max_runtime_leaves(shop: Shop) -> None:
    claim = shop.claimed(max_runtime=100)
    assert claim.seconds_left == 100
    shop.act(attempts.release, claim.job_id, claim.attempt)
    shop.act(lambda session: session.execute(update(Attempt).values(started_at=ago(90), ended_at=ago(30))))

    again = shop.claim()

    assert again is not None
    assert again.seconds_left == pytest.approx(40, abs=0.1)


def test_running_time_counts_anew_after_a_retry(shop: Shop) -> None:
    claim = shop.claimed(max_runtime=100)
    shop.act(attempts.cancel, claim.job_id, claim.attempt)
    shop.act(lambda session: session.execute(update(Attempt).values(started_at=ago(90), ended_at=now())))
    shop.act(wishes.retry, claim.job_id, "checkpoint")

    again = shop.claim()

    assert again is not None
    assert again.seconds_left == 100


def test_a_claim_among_ten_thousand_queued_jobs_is_quick(shop: Shop, engine: Engine) -> None:
    shop.submit()
    columns = ", ".join(column.name for column in Job.__table__.columns if column.name not in ("id", "owner"))
    copies = (
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000) "
        f"INSERT INTO jobs (id, owner, {columns}) "
        f"SELECT id || CAST(n AS TEXT), 'owner' || CAST(n % 50 AS TEXT), {columns} FROM jobs, numbers"
    )
    with engine.begin() as connection:
        connection.execute(text(copies))

    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        assert shop.claim() is not None
        seconds.append(time.perf_counter() - began)

    assert sorted(seconds)[5] < 0.5


def test_a_long_queue_is_not_read_through(sqlite_url: str) -> None:
    """Every step of a claim finds jobs in the index of the queue, from where it wants to begin."""
    engine = engines.create(sqlite_url)
    shop = Shop(engine)
    for owner in ("ann", "bob"):
        submitted(shop, owner)
    said: list[tuple[str, Any]] = []
    listen = partial(event.listens_for, engine, "before_cursor_execute")

    @listen()
    def hear(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if "jobs.status" in statement:
            said.append((statement, parameters))

    with read(engine) as session:
        assert turns.take(session, ONE_CPU)
    with engine.connect() as connection:
        steps = [
            step[3]
            for statement, parameters in [*said]
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    engine.dispose()

    looks = [step for step in steps if " jobs" in step]
    assert looks
    assert all("USING INDEX ix_jobs_queue" in look or "COVERING INDEX ix_jobs_queue" in look for look in looks)
    assert not any("TEMP B-TREE" in step for step in steps)
