"""Workers that have been seen."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.store import workers
from tests.shop import Shop

OLD = "2020-01-01T00:00:00.000Z"


def beat(shop: Shop, id: str, **precisions: list[str]) -> None:
    def act(session: Session) -> None:
        device = "cuda" if "cuda" in precisions else "cpu"
        workers.beat(
            session, id=id, host="h", pid=1, device=device, slots=1, version="1", devices=2, precisions=precisions
        )

    shop.act(act)


def end(shop: Shop, id: str) -> None:
    """It is not heard of any more."""
    shop.act(lambda session: session.execute(text(f"UPDATE workers SET heartbeat_at = '{OLD}' WHERE id = '{id}'")))


def known(shop: Shop, device: str) -> frozenset[str] | None:
    with shop.look() as session:
        return workers.precisions(session, device)


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


def test_a_worker_that_says_goodbye_is_forgotten(shop: Shop) -> None:
    beat(shop, "work_1")

    shop.act(workers.forget, "work_1")

    assert seen(shop) == []


def test_precisions_are_those_of_the_live_workers_of_a_kind_all_together(shop: Shop) -> None:
    assert [known(shop, device) for device in ("auto", "cpu", "cuda")] == [None, None, None]

    beat(shop, "work_1", cpu=["float32"])
    beat(shop, "work_2", cpu=["bfloat16", "float32"])

    assert known(shop, "cpu") == known(shop, "auto") == {"float32", "bfloat16"}
    assert known(shop, "cuda") is None
    end(shop, "work_2")
    assert known(shop, "cpu") == {"float32"}


def test_a_worker_with_gpus_counts_for_auto_by_its_gpus_and_for_cpu_by_its_cpu(shop: Shop) -> None:
    beat(shop, "work_1", cpu=["float32"], cuda=["bfloat16", "float16", "float32"])

    assert known(shop, "auto") == known(shop, "cuda") == {"float32", "bfloat16", "float16"}
    assert known(shop, "cpu") == {"float32"}


def test_a_worker_that_has_not_told_its_precisions_is_not_counted(shop: Shop) -> None:
    beat(shop, "work_1")

    assert known(shop, "cpu") is None
