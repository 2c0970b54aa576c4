"""The database's clock."""

from datetime import UTC, datetime, timedelta, timezone

from sqlalchemy import Engine, bindparam, select

from app.store.clock import Timestamp, ago, from_now, now
from app.store.engine import read


def test_now_is_now_in_utc(engine: Engine) -> None:
    with read(engine) as session:
        moment = session.scalars(select(now())).one()

    assert moment.tzinfo is UTC
    assert abs(moment - datetime.now(UTC)) < timedelta(seconds=5)


def test_moments_are_shifted_and_compared(engine: Engine) -> None:
    with read(engine) as session:
        later, earlier = session.execute(select(from_now(90.5), ago(0.5))).one()
        assert session.scalar(select(from_now(-1) < now())) in (True, 1)
        assert session.scalar(select(now() < from_now(0.05))) in (True, 1)

    assert timedelta(seconds=90.9) < later - earlier < timedelta(seconds=91.5)


def test_any_zone_is_stored_as_utc(engine: Engine) -> None:
    noon = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    with read(engine) as session:
        stored = session.scalar(select(bindparam("moment", noon, Timestamp())))

    assert stored == noon
    assert stored.utcoffset() == timedelta(0)
