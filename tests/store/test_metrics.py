"""Series in blocks, and fewer points that draw the same picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from app.store import metrics
from app.store.engine import write
from app.store.metrics import BLOCK_POINTS, FEWEST_POINTS, downsample
from app.store.models import SeriesBlock
from tests.shop import Shop


def append(shop: Shop, job_id: str, steps: list[int], values: list[float]) -> None:
    shop.act(metrics.append, job_id, "loss", steps, values)


def points(shop: Shop, job_id: str, **arguments: int) -> list[tuple[float, float]]:
    with shop.look() as session:
        found = metrics.series(session, job_id, "loss", **arguments)
    return list(zip(found.steps.tolist(), found.values.tolist(), strict=True))


def test_points_come_back_as_they_were_given(shop: Shop) -> None:
    job = shop.submit()
    for start in (1, 4, 7):
        append(shop, job.id, [start, start + 1, start + 2], [start / 3, 0.1, -1e300])

    expected = [(s + o, v) for s in (1, 4, 7) for o, v in enumerate((s / 3, 0.1, -1e300))]
    assert points(shop, job.id) == expected


def test_small_reports_fill_one_block_after_another(shop: Shop) -> None:
    job = shop.submit()
    for start in range(1, 2 * BLOCK_POINTS + 2, 500):
        append(shop, job.id, list(range(start, start + 500)), [0.0] * 500)

    with shop.look() as session:
        counts = session.scalars(select(SeriesBlock.count).order_by(SeriesBlock.first_step)).all()
    assert counts[:-1] == [BLOCK_POINTS] * (len(counts) - 1)
    assert len(points(shop, job.id)) == sum(counts) == 4500


def test_a_block_knows_its_range(shop: Shop) -> None:
    job = shop.submit()
    append(shop, job.id, [1, 2, 3], [0.5, -2.0, 7.0])

    with shop.look() as session:
        (block,) = session.scalars(select(SeriesBlock)).all()
    assert (block.first_step, block.last_step, block.count) == (1, 3, 3)
    assert (block.minimum, block.maximum) == (-2.0, 7.0)


def test_a_range_of_steps_is_inclusive(shop: Shop) -> None:
    job = shop.submit()
    append(shop, job.id, list(range(1, 11)), [float(step) for step in range(1, 11)])

    assert [step for step, _ in points(shop, job.id, from_step=3, to_step=5)] == [3, 4, 5]


def test_points_after_a_step_are_forgotten_within_a_block(shop: Shop) -> None:
    job = shop.submit()
    append(shop, job.id, list(range(1, 3001)), [1.0] * 2999 + [9.0])

    shop.act(metrics.forget_after, job.id, 2500)

    found = points(shop, job.id)
    assert (len(found), found[-1]) == (2500, (2500.0, 1.0))
    with shop.look() as session:
        assert session.scalar(select(func.max(SeriesBlock.maximum))) == 1.0


def test_an_unknown_series_is_empty(shop: Shop) -> None:
    assert points(shop, shop.submit().id) == []


def test_a_million_points_are_megabytes_and_a_chart_of_them_keeps_its_spike(shop: Shop) -> None:
    job = shop.submit()
    values = np.random.default_rng(1).normal(size=1_000_000)
    values[654_321] = 99.0
    with write(shop.engine) as session:
        for start in range(0, 1_000_000, 100_000):
            steps = list(range(start + 1, start + 100_001))
            metrics.append(session, job.id, "loss", steps, values[start : start + 100_000].tolist())

    with shop.look() as session:
        size = session.scalar(select(func.sum(func.length(SeriesBlock.points))))
        found = metrics.series(session, job.id, "loss", max_points=1000)

    assert size == 16_000_000
    assert len(found.steps) <= 1000
    assert 99.0 in found.values


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=400), st.integers(FEWEST_POINTS, 100))
def test_downsampling_keeps_ends_and_extremes_and_invents_nothing(values: list[float], most: int) -> None:
    steps, column = np.arange(1.0, len(values) + 1), np.asarray(values)

    found = downsample(steps, column, most)

    assert len(found.steps) <= max(most, FEWEST_POINTS)
    assert found.count == len(values)
    assert found.steps[0] == 1
    assert found.steps[-1] == len(values)
    assert found.values.min() == column.min()
    assert found.values.max() == column.max()
    assert np.all(np.diff(found.steps) > 0)
    assert np.array_equal(found.values, column[found.steps.astype(int) - 1])


@pytest.mark.parametrize("most", [None, 5, 10])
def test_few_points_are_left_as_they_are(most: int | None) -> None:
    found = downsample(np.arange(5.0), np.arange(5.0), most)

    assert found.steps.tolist() == [0, 1, 2, 3, 4]
