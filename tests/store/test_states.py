"""The table of moves, in the code and in the database."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from app.store.engine import write
from app.store.errors import MoveRefused
from app.store.states import FINAL, MOVES, Status, check_move
from tests.shop import Shop


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Status, Status)))
def test_exactly_the_moves_of_the_table_are_allowed(before: Status, after: Status) -> None:
    if (before, after) in MOVES:
        check_move("job_1", before, after)
        return
    with pytest.raises(MoveRefused) as caught:
        check_move("job_1", before, after)
    assert (caught.value.before, caught.value.after) == (before, after)


def test_only_a_retry_of_what_did_not_succeed_leaves_a_final_status() -> None:
    leaving = {(before, after) for before, after in MOVES if before in FINAL}

    assert leaving == {(Status.FAILED, Status.QUEUED), (Status.CANCELLED, Status.QUEUED)}


@given(st.data())
def test_every_walk_can_end(data: st.DataObject) -> None:
    status = Status.QUEUED
    for _ in range(20):
        following = sorted(after for before, after in MOVES if before is status)
        if not following:
            break
        assert any(after.is_final or (after, Status.CANCELLED) in MOVES for after in following)
        status = Status(data.draw(st.sampled_from(following)))
    assert status.is_final or (status, Status.CANCELLED) in MOVES


@pytest.mark.parametrize(
    "change",
    [
        "status = 'lost'",
        "wanted = 'nothing'",
        "phase = 'training'",
        "status = 'running'",
        "status = 'succeeded'",
        "finished_at = created_at",
        "status = 'failed', finished_at = created_at",
        "failure_class = 'bad luck'",
    ],
)
def test_the_database_refuses_a_row_that_cannot_be(engine: Engine, shop: Shop, change: str) -> None:
    shop.submit()

    with pytest.raises(IntegrityError), write(engine) as session:
        session.execute(text(f"UPDATE jobs SET {change}"))


def test_the_database_refuses_a_second_open_attempt(engine: Engine, shop: Shop) -> None:
    claim = shop.claimed()
    copy = (
        "INSERT INTO attempts (job_id, number, worker_id, device, first_step, lease_expires_at) "
        "SELECT job_id, number + 1, worker_id, device, first_step, lease_expires_at FROM attempts"
    )

    with pytest.raises(IntegrityError), write(engine) as session:
        session.execute(text(copy))

    assert shop.job(claim.job_id).attempt == 1
