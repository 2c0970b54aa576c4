"""Workers that have been seen."""

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.store import workers
from app.store.errors import NotFound
from tests.shop import Shop
from trainer.offer import Offer

OLD = "2020-01-01T00:00:00.000Z"


def beat(shop: Shop, id: str, **offers: Offer) -> None:
    def act(session: Session) -> None:
        workers.beat(session, id=id, host="h", pid=1, device="cpu", slots=1, version="1", offers=offers)

    shop.act(act)


def again(session: Session) -> bool:
    """The next heartbeat of worker 1: whether it is to be drained."""
    return workers.beat(session, id="work_1", host="h", pid=1, device="cpu", slots=1, version="1", offers={})


def has(devices: int, *precisions: str) -> Offer:
    return Offer(devices, frozenset(precisions))


def end(shop: Shop, id: str) -> None:
    """It is not heard of any more."""
    shop.act(lambda session: session.execute(text(f"UPDATE workers SET heartbeat_at = '{OLD}' WHERE id = '{id}'")))


def known(shop: Shop, device: str) -> Offer | None:
    with shop.look() as session:
        return workers.offer(session, device)


def seen(shop: Shop) -> list[tuple[str, bool]]:
    with shop.look() as session:
        return [(worker.id, alive) for worker, alive in workers.all_of_them(session)]


def test_a_worker_is_alive_while_it_beats(shop: Shop) -> None:
    beat(shop, "work_1")
    beat(shop, "work_1")
    beat(shop, "work_2")

    assert seen(shop) == [("work_1", True), ("work_2", True)]
    end(shop, "work_1")
    assert seen(shop) == [("work_1", False), ("work_2", True)]


def test_a_heartbeat_tells_what_memory_is_used(shop: Shop) -> None:
    def act(session: Session, used: int) -> None:
        who = {"id": "work_1", "host": "h", "pid": 1, "device": "cuda", "slots": 1, "version": "1"}
        workers.beat(session, **who, offers={}, memory={"cpu": (used, 10), "gpu0": (2, 20)})

    for used in (1, 3):
        shop.act(act, used)

    with shop.look() as session:
        ((worker, _),) = workers.all_of_them(session)
    assert worker.memory == {"cpu": [3, 10], "gpu0": [2, 20]}


def test_a_worker_that_says_goodbye_is_forgotten(shop: Shop) -> None:
    beat(shop, "work_1")

    shop.act(workers.forget, "work_1")

    assert seen(shop) == []


def test_offers_are_those_of_the_live_workers_all_together(shop: Shop) -> None:
    assert known(shop, "cpu") is None

    beat(shop, "work_1", cpu=has(4, "float32"), auto=has(4, "float32"))
    beat(shop, "work_2", cpu=has(2, "bfloat16", "float32"), auto=has(2, "bfloat16", "float32"))

    assert known(shop, "cpu") == known(shop, "auto") == has(4, "float32", "bfloat16")
    assert known(shop, "cuda") is None
    end(shop, "work_2")
    assert known(shop, "cpu") == has(4, "float32")


def test_a_worker_that_offers_nothing_is_not_counted(shop: Shop) -> None:
    beat(shop, "work_1")

    assert known(shop, "cpu") is None


def test_a_drained_worker_gets_no_job_and_hears_of_it_with_its_heartbeat(shop: Shop) -> None:
    beat(shop, "work_1")
    shop.submit()

    shop.act(lambda session: workers.drain(session, "work_1", is_drained=True))
    while_drained, heard = shop.claim(), shop.act(again)
    shop.act(lambda session: workers.drain(session, "work_1", is_drained=False))

    assert (while_drained, heard, shop.act(again)) == (None, True, False)
    assert shop.claim() is not None


def test_a_worker_that_nobody_knows_cannot_be_drained(shop: Shop) -> None:
    with pytest.raises(NotFound):
        shop.act(lambda session: workers.drain(session, "work_9", is_drained=True))
