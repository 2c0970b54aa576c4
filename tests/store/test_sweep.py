"""Jobs that wait without a bell, or too long."""

from app.store import sweep, wishes
from tests.shop import Shop
from trainer.offer import Offer


def test_a_job_is_rung_for_again_when_its_bell_is_long_ago(shop: Shop) -> None:
    job = shop.submit(device="cpu", devices=2)
    one, two = (Offer(devices, frozenset(["float32"])) for devices in (1, 2))

    assert shop.act(sweep.needing_bell, 60, {"cpu": two}) == []
    assert shop.act(sweep.needing_bell, -1, {"cpu": one, "cuda": two}) == []
    assert shop.act(sweep.needing_bell, -1, {"cpu": two}) == [(job.id, "cpu")]
    assert shop.act(sweep.needing_bell, 60, {"cpu": two}) == []


def test_a_queued_job_is_overdue_for_those_who_could_run_it(shop: Shop) -> None:
    job = shop.submit(device="cpu", devices=2)
    one, two = (Offer(devices, frozenset(["float32"])) for devices in (1, 2))

    assert not shop.act(sweep.has_overdue, 60, {"cpu": two})
    assert not shop.act(sweep.has_overdue, -1, {"cpu": one, "cuda": two})
    assert shop.act(sweep.has_overdue, -1, {"cpu": two})
    shop.act(wishes.cancel, job.id)
    assert not shop.act(sweep.has_overdue, -1, {"cpu": two})
