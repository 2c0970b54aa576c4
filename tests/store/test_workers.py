"""Workers that have been seen."""

from sqlalchemy import text

from app.store import workers
from tests.shop import Shop


def beat(shop: Shop, id: str) -> None:
    def act(session: object) -> None:
        workers.beat(session, id=id, host="h", pid=1, device="cpu", slots=1, version="1")  # type: ignore[arg-type]

    shop.act(act)


def seen(shop: Shop) -> list[tuple[str, bool]]:
    with shop.look() as session:
        return [(worker.id, alive) for worker, alive in workers.all_of_them(session)]


def test_a_worker_is_alive_while_it_beats(shop: Shop) -> None:
    beat(shop, "work_1")
    beat(shop, "work_1")
    beat(shop, "work_2")
    old = "2020-01-01T00:00:00.000Z"

    assert seen(shop) == [("work_1", True), ("work_2", True)]
    shop.act(lambda session: session.execute(text(f"UPDATE workers SET heartbeat_at = '{old}' WHERE id = 'work_1'")))
    assert seen(shop) == [("work_1", False), ("work_2", True)]


def test_a_worker_that_says_goodbye_is_forgotten(shop: Shop) -> None:
    beat(shop, "work_1")

    shop.act(workers.forget, "work_1")

    assert seen(shop) == []
