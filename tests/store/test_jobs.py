"""Jobs submitted, found, listed, cancelled, deleted."""

import threading
from collections.abc import Mapping

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from app.store import datasets, events, jobs, turns, wishes
from app.store.cursors import decode, encode
from app.store.engine import write
from app.store.errors import CursorInvalid, KeyInFlight, KeyReused, MoveRefused, NotFound
from app.store.jobs import JobFilter, Sort
from app.store.models import Base, Dataset, Event, IdempotencyKey, Job
from app.store.states import Status, Wanted
from tests.shop import Shop
from tests.specs import spec

ALL = JobFilter()


def listed(shop: Shop, filters: JobFilter = ALL, sort: Sort = "created_at", limit: int = 100) -> list[str]:
    """Names of all jobs, page by page."""
    names: list[str] = []
    cursor = None
    while True:
        with shop.look() as session:
            found, cursor = jobs.page(session, filters, sort, cursor, limit)
            names += [job.name for job in found]
        if cursor is None:
            return names


def test_a_submitted_job_is_queued_with_its_first_event(shop: Shop) -> None:
    job = shop.submit(name="first", labels={"team": "a"})

    stored = shop.job(job.id)
    assert (stored.status, stored.wanted, stored.name) == (Status.QUEUED, Wanted.RUN, "first")
    assert stored.labels == {"team": "a"}
    assert stored.spec["batch_size"] == 128
    assert stored.created_at.tzinfo is not None
    with shop.look() as session:
        (event,) = events.after(session, job.id, 0, 10)
    assert (event.number, event.kind) == (1, "submitted")


def test_the_same_key_and_request_give_the_same_job(shop: Shop) -> None:
    first, again = shop.submit(key="k"), shop.submit(key="k")

    assert first.id == again.id
    assert listed(shop) == ["tiny"]


def test_the_same_key_with_another_request_is_refused(shop: Shop) -> None:
    shop.submit(key="k")

    with pytest.raises(KeyReused):
        shop.submit(key="k", request="other")
    assert len(listed(shop)) == 1


def test_a_key_that_is_being_answered_is_in_flight_or_waited_for(shop: Shop, engine: Engine) -> None:
    outcomes: list[object] = []

    def submit() -> None:
        try:
            outcomes.append(shop.submit(key="k").id)
        except KeyInFlight as error:
            outcomes.append(error)

    other = threading.Thread(target=submit)
    with write(engine) as session:
        jobs.known(session, jobs.Idempotency("k", "r"))
        other.start()
        if engine.dialect.name == "postgresql":
            other.join()
    other.join()

    in_flight = isinstance(outcomes[0], KeyInFlight)
    assert in_flight == (engine.dialect.name == "postgresql")
    assert len(listed(shop)) == (0 if in_flight else 1)


def test_a_submit_that_fails_leaves_nothing(shop: Shop, engine: Engine) -> None:
    def submit_and_fail() -> None:
        with write(engine) as session:
            dataset = datasets.get(session, "mnist5k")
            key = jobs.Idempotency("k", "r")
            jobs.submit(session, spec(), dataset, steps_per_epoch=1, max_attempts=1, idempotency=key)
            raise RuntimeError("the process dies here")

    with pytest.raises(RuntimeError):
        submit_and_fail()

    with shop.look() as session:
        for table in (Job, Event, IdempotencyKey):
            assert session.scalar(select(func.count()).select_from(table)) == 0


def test_an_unknown_job_is_not_found(shop: Shop) -> None:
    with pytest.raises(NotFound, match="There is no job job_x"):
        shop.job("job_x")


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("created_at", ["b", "a", "c", "a"]),
        ("-created_at", ["a", "c", "a", "b"]),
        ("name", ["a", "a", "b", "c"]),
        ("-name", ["c", "b", "a", "a"]),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_pages_are_in_order_and_complete(shop: Shop, sort: Sort, names: list[str], limit: int) -> None:
    for name in ("b", "a", "c", "a"):
        shop.submit(name=name)

    assert listed(shop, sort=sort, limit=limit) == names


def test_a_page_goes_on_where_it_ended_whatever_was_added_since(shop: Shop) -> None:
    for name in ("a", "b", "c"):
        shop.submit(name=name)
    with shop.look() as session:
        _, cursor = jobs.page(session, ALL, "created_at", None, 2)

    shop.submit(name="d")

    with shop.look() as session:
        found, _ = jobs.page(session, ALL, "created_at", cursor, 2)
        assert [job.name for job in found] == ["c", "d"]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (JobFilter(status=(Status.QUEUED,)), ["Beta", "50%_off"]),
        (JobFilter(status=(Status.QUEUED, Status.CANCELLED)), ["alpha", "Beta", "50%_off"]),
        (JobFilter(name="BET"), ["Beta"]),
        (JobFilter(name="%_"), ["50%_off"]),
        (JobFilter(labels=(("team/x.y-z", "a"),)), ["Beta", "50%_off"]),
        (JobFilter(labels=(("n", "1"), ("team/x.y-z", "a"))), ["Beta"]),
        (JobFilter(labels=(("team", "a"),)), []),
        (JobFilter(dataset="mnist5k"), ["alpha", "Beta", "50%_off"]),
        (JobFilter(dataset="other"), []),
    ],
)
def test_filters_narrow_a_list(shop: Shop, filters: JobFilter, names: list[str]) -> None:
    cancelled = shop.submit(name="alpha")
    shop.submit(name="Beta", labels={"team/x.y-z": "a", "n": "1"})
    shop.submit(name="50%_off", labels={"team/x.y-z": "a"})
    shop.act(wishes.cancel, cancelled.id)

    assert listed(shop, filters) == names


def test_a_cursor_of_another_list_is_refused(shop: Shop) -> None:
    for _ in range(2):
        shop.submit()
    with shop.look() as session:
        _, cursor = jobs.page(session, ALL, "created_at", None, 1)
        for filters, sort in ((JobFilter(name="x"), "created_at"), (ALL, "name"), (ALL, "-created_at")):
            with pytest.raises(CursorInvalid, match="other filters"):
                jobs.page(session, filters, sort, cursor, 1)


@pytest.mark.parametrize("cursor", ["", "x", "ä", "W10", "e30", "bnVsbA", "WzEsMl0", encode("q", ["a"]) + "x"])
def test_a_damaged_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(CursorInvalid):
        decode("q", cursor, 1)


def test_a_cursor_holds_its_position() -> None:
    assert decode({"a": 1}, encode({"a": 1}, ["naïve", "job_1"]), 2) == ["naïve", "job_1"]


def test_the_queue_position_counts_the_jobs_before(shop: Shop) -> None:
    first, second = shop.submit(), shop.submit()

    def positions(session: Session) -> Mapping[str, int]:
        return turns.positions(session, [jobs.get(session, job.id) for job in (first, second)])

    with shop.look() as session:
        assert positions(session) == {first.id: 1, second.id: 2}

    shop.claim()

    with shop.look() as session:
        assert positions(session) == {second.id: 1}


def test_a_queued_job_is_cancelled_at_once(shop: Shop) -> None:
    job = shop.submit()

    shop.act(wishes.cancel, job.id)

    stored = shop.job(job.id)
    assert stored.status is Status.CANCELLED
    assert stored.finished_at is not None
    assert shop.claim() is None


def test_a_running_job_is_asked_to_stop(shop: Shop) -> None:
    claim = shop.claimed()

    shop.act(wishes.cancel, claim.job_id)

    stored = shop.job(claim.job_id)
    assert (stored.status, stored.wanted) == (Status.RUNNING, Wanted.CANCEL)


def test_cancelling_twice_changes_nothing_more(shop: Shop) -> None:
    claim = shop.claimed()
    for job_id in (claim.job_id, shop.submit().id):
        shop.act(wishes.cancel, job_id)
        version = shop.job(job_id).version

        shop.act(wishes.cancel, job_id)

        assert shop.job(job_id).version == version


def test_a_job_that_is_not_finished_is_not_deleted(shop: Shop) -> None:
    job = shop.submit()

    with pytest.raises(MoveRefused) as caught:
        shop.act(jobs.delete, job.id)

    assert (caught.value.before, caught.value.after) == ("queued", "deleted")


def test_deleting_a_finished_job_removes_every_row_of_it(shop: Shop, engine: Engine) -> None:
    job = shop.submit(key="k")
    shop.act(wishes.cancel, job.id)

    shop.act(jobs.delete, job.id)

    with shop.look() as session:
        counts = {
            table.name: session.scalar(select(func.count()).select_from(table)) for table in Base.metadata.sorted_tables
        }
    assert {name for name, count in counts.items() if count} == {Dataset.__tablename__}
    assert shop.submit(key="k", request="other").id != job.id


def test_versions_rise_with_every_visible_change(shop: Shop) -> None:
    job = shop.submit()
    seen = [shop.job(job.id).version]
    claim = shop.claim()
    assert claim
    seen.append(shop.job(job.id).version)
    shop.record(claim, series={"loss": ([1], [0.5])})
    seen.append(shop.job(job.id).version)
    shop.act(wishes.cancel, job.id)
    seen.append(shop.job(job.id).version)

    assert seen == sorted(set(seen))
    with shop.look() as session:
        assert jobs.versions(session, [job.id, "job_x"]) == {job.id: seen[-1]}
