"""Statistics of layers: kept once, forgotten when they will be seen again."""

from app.store import layers
from tests.shop import Shop
from trainer.events import Distribution, LayersInspected, LayerStatistics


def seen(epoch: int, std: float = 1.0) -> LayersInspected:
    values = Distribution(0.0, std, (1, 2, 3))
    statistics = [
        LayerStatistics(index, f"layer{index}", "Linear", values, values, None, 0.5, False, 2.0, 3.0, 0.001)
        for index in (0, 3)
    ]
    return LayersInspected(epoch, epoch * 10, values, tuple(statistics))


def found(shop: Shop, job_id: str, epoch: int | None = None) -> list[tuple[int, int, float | None]]:
    with shop.look() as session:
        return [(row.epoch, row.index, row.activation_std) for row in layers.of_job(session, job_id, epoch)]


def test_layers_come_in_order_and_by_epoch(shop: Shop) -> None:
    claim = shop.claimed()

    shop.record(claim, layers=[seen(1), seen(0)])

    assert found(shop, claim.job_id) == [(0, 0, 1.0), (0, 3, 1.0), (1, 0, 1.0), (1, 3, 1.0)]
    assert found(shop, claim.job_id, 1) == [(1, 0, 1.0), (1, 3, 1.0)]


def test_a_row_says_what_was_seen(shop: Shop) -> None:
    claim = shop.claimed()

    shop.record(claim, layers=[seen(2)])

    with shop.look() as session:
        row = layers.of_job(session, claim.job_id)[0]
        assert (row.step, row.name, row.kind, row.activation_histogram) == (20, "layer0", "Linear", [1, 2, 3])
        assert (row.dead, row.saturated, row.symmetric) == (None, 0.5, False)
        assert (row.weight_norm, row.weight_gradient_norm, row.update_ratio) == (2.0, 3.0, 0.001)


def test_what_is_not_finite_is_kept_as_nothing(shop: Shop) -> None:
    claim = shop.claimed()
    values = Distribution(None, None, (0, 1))
    one = LayerStatistics(0, "a", "Linear", values, values, None, None, None, None, None, None)

    shop.record(claim, layers=[LayersInspected(0, 0, values, (one,))])

    assert found(shop, claim.job_id) == [(0, 0, None)]


def test_told_twice_is_kept_once(shop: Shop) -> None:
    claim = shop.claimed()

    shop.record(claim, layers=[seen(0, 1.0)])
    shop.record(claim, layers=[seen(0, 1.0)])

    assert len(found(shop, claim.job_id)) == 2


def test_what_was_seen_after_a_step_is_forgotten(shop: Shop) -> None:
    claim = shop.claimed()
    shop.record(claim, layers=[seen(0), seen(1), seen(2)])

    shop.act(layers.forget_after, claim.job_id, 10)

    assert [epoch for epoch, _, _ in found(shop, claim.job_id)] == [0, 0, 1, 1]
