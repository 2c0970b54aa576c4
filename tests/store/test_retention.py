"""What finished jobs leave behind goes by age and by total size; what is in use never does."""

import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from app.settings import KeepSettings
from app.store import attempts, blobs, events, jobs, keys, logs, metrics, retention, websessions
from app.store.claims import Claim
from app.store.clock import ago
from app.store.engine import write
from app.store.models import Blob, Checkpoint, Job, LogChunk, SeriesBlock, WebSession
from app.store.reports import Failure
from app.store.retention import Leftover, Limit
from app.store.scopes import Scope
from app.store.states import FailureClass
from tests.shop import Shop

DAY = 86400.0
NO_LIMITS = {kind: Limit() for kind in Leftover}

Finish = Callable[..., Claim]


@pytest.fixture
def finish(shop: Shop, tmp_path: Path) -> Finish:
    """Makes jobs that failed so many days ago, with a series, a checkpoint and output."""

    def finish(days: float, *, points: int = 10, log_bytes: int = 100, checkpoint: bytes | None = None) -> Claim:
        claim = shop.claimed()
        path = tmp_path / "checkpoint"
        path.write_bytes(checkpoint or claim.job_id.encode())
        sha256 = blobs.put(shop.engine, path)
        shop.record(claim, series={"loss": (list(range(1, points + 1)), [0.5] * points)})
        shop.act(logs.append, claim.job_id, claim.attempt, 60.0, 0, b"x" * log_bytes, logs.FEWEST_BYTES)
        shop.act(attempts.fail, claim.job_id, claim.attempt, Failure(FailureClass.USER, "bad", "Bad."))
        with write(shop.engine) as session:
            session.merge(Checkpoint(job_id=claim.job_id, step=5, epoch=1, sha256=sha256))
            job = jobs.get(session, claim.job_id)
            assert job.finished_at is not None
            job.finished_at -= timedelta(days=days)
            session.execute(update(Blob).values(used_at=job.finished_at))
        return claim

    return finish


def collected(shop: Shop, limits: Mapping[Leftover, Limit]) -> list[tuple[str, str]]:
    """Job and kind of what goes, the same as what was said would go."""
    with shop.look() as session:
        planned = retention.plan(session, NO_LIMITS | limits)
    done = retention.collect(shop.engine, NO_LIMITS | limits)
    assert list(done.removals) == list(planned.removals)
    return [(removal.job_id, removal.kind) for removal in done.removals]


def left(shop: Shop, table: type[SeriesBlock | Checkpoint | LogChunk]) -> set[str]:
    with shop.look() as session:
        return set(session.scalars(select(table.job_id)))


def test_by_age_goes_what_is_older_and_only_that_kind(shop: Shop, finish: Finish) -> None:
    old, young = finish(10), finish(1)

    assert collected(shop, {Leftover.LOGS: Limit(seconds=5 * DAY)}) == [(old.job_id, "logs")]

    assert left(shop, LogChunk) == {young.job_id}
    assert left(shop, SeriesBlock) == left(shop, Checkpoint) == {old.job_id, young.job_id}


def test_by_size_the_oldest_go_until_the_rest_fits(shop: Shop, finish: Finish) -> None:
    claims = [finish(days, log_bytes=1000) for days in (4, 3, 2, 1)]

    gone = collected(shop, {Leftover.LOGS: Limit(bytes=2500)})

    assert gone == [(claim.job_id, "logs") for claim in claims[:2]]
    assert left(shop, LogChunk) == {claim.job_id for claim in claims[2:]}
    assert collected(shop, {Leftover.LOGS: Limit(bytes=2500)}) == []


def test_sizes_of_series_are_those_of_their_points(shop: Shop, finish: Finish) -> None:
    claim = finish(1, points=5000)

    (removal,) = shop.act(retention.due, Leftover.SERIES, Limit(bytes=0))

    assert removal == retention.Removal(claim.job_id, Leftover.SERIES, 80_000)
    retention.collect(shop.engine, NO_LIMITS | {Leftover.SERIES: Limit(bytes=0)})
    with shop.look() as session:
        assert metrics.names(session, claim.job_id) == []


def test_a_checkpoint_goes_with_its_blob_unless_another_has_it_too(shop: Shop, finish: Finish) -> None:
    finish(10, checkpoint=b"shared"), finish(10, checkpoint=b"alone"), finish(1, checkpoint=b"shared")

    done = retention.collect(shop.engine, NO_LIMITS | {Leftover.CHECKPOINTS: Limit(seconds=5 * DAY)})

    assert (len(done.removals), done.blobs, done.blob_bytes) == (2, 1, 5)
    with shop.look() as session:
        assert session.scalars(select(Blob.size)).all() == [6]


def test_more_blobs_than_go_at_once_all_go(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "MOST_COLLECTED", 2)
    for number in range(5):
        (tmp_path / "blob").write_bytes(bytes([number]))
        blobs.put(shop.engine, tmp_path / "blob")
    with shop.look() as session:
        assert retention.plan(session, NO_LIMITS).blobs == 0
    with write(shop.engine) as session:
        session.execute(update(Blob).values(used_at=retention.ago(2 * retention.BLOB_GRACE_SECONDS)))

    assert retention.collect(shop.engine, NO_LIMITS).blobs == 5


def test_the_jobs_history_says_what_went_and_its_version_rises(shop: Shop, finish: Finish) -> None:
    claim = finish(10)
    before = shop.job(claim.job_id).version

    collected(shop, {Leftover.LOGS: Limit(seconds=DAY)})

    with shop.look() as session:
        last = events.after(session, claim.job_id, 0, 100)[-1]
    assert last.kind == "expired"
    assert last.message == "The job's logs (100 bytes) were removed, as the service's retention says."
    assert shop.job(claim.job_id).version > before


def test_a_job_that_is_not_finished_keeps_everything(shop: Shop) -> None:
    claim = shop.claimed()
    shop.record(claim, series={"loss": ([1], [0.5])})
    shop.act(logs.append, claim.job_id, claim.attempt, 60.0, 0, b"words", logs.FEWEST_BYTES)

    assert collected(shop, {kind: Limit(bytes=0) for kind in Leftover}) == []

    assert left(shop, LogChunk) == left(shop, SeriesBlock) == {claim.job_id}


def test_what_was_taken_into_use_after_the_plan_stays(shop: Shop, finish: Finish) -> None:
    again, gone = finish(10), finish(10)
    removals = shop.act(retention.due, Leftover.LOGS, Limit(seconds=DAY))
    with write(shop.engine) as session:
        values = {"status": "queued", "finished_at": None, "failure_class": None}
        session.execute(update(Job).where(Job.id == again.job_id).values(**values))
    shop.act(jobs.delete, gone.job_id)

    assert [shop.act(retention.remove, removal) for removal in removals] == [False, False]
    assert left(shop, LogChunk) == {again.job_id}


def test_without_limits_nothing_goes(shop: Shop, finish: Finish) -> None:
    finish(10_000)

    assert collected(shop, {}) == []


def test_defaults_keep_series_for_ever_and_the_rest_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert KeepSettings().limits == {
        Leftover.SERIES: Limit(),
        Leftover.CHECKPOINTS: Limit(seconds=30 * DAY),
        Leftover.LOGS: Limit(seconds=90 * DAY),
    }
    monkeypatch.setenv("ANNEALER_KEEP_LOGS_DAYS", "inf")
    monkeypatch.setenv("ANNEALER_KEEP_LOGS_BYTES", "1000")
    assert KeepSettings().logs_days == math.inf
    assert KeepSettings().limits[Leftover.LOGS] == Limit(bytes=1000)


def test_two_who_collect_at_once_remove_each_thing_once(shop: Shop, finish: Finish) -> None:
    claim = finish(10)
    (removal,) = shop.act(retention.due, Leftover.LOGS, Limit(seconds=DAY))

    assert [shop.act(retention.remove, removal) for _ in range(2)] == [True, False]
    with shop.look() as session:
        kinds = [event.kind for event in events.after(session, claim.job_id, 0, 100)]
        assert session.scalar(select(func.count()).select_from(LogChunk)) == 0
    assert kinds.count("expired") == 1


def test_browsers_that_are_signed_in_no_longer_are_forgotten(shop: Shop) -> None:
    key, _ = shop.act(lambda session: keys.create(session, name="k", owner="a", scope=Scope.READ, expires_days=None))
    for _ in range(2):
        shop.act(websessions.begin, key)
    with write(shop.engine) as session:
        first = session.scalars(select(WebSession.sha256)).first()
        session.execute(update(WebSession).where(WebSession.sha256 == first).values(expires_at=ago(1.0)))

    retention.collect(shop.engine, NO_LIMITS)

    with shop.look() as session:
        assert session.scalar(select(func.count()).select_from(WebSession)) == 1
        assert session.get(WebSession, first) is None
