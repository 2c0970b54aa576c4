"""Which image goes into which split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.datasets.options import StratifiedSplit
from trainer.datasets.splits import NONE, TEST, TRAIN, VALIDATION, assign, shares
from trainer.errors import DataRefused


def drawn(counts: list[int], **rule: object) -> np.ndarray:
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    keys = [f"{number}.png" for number in range(len(labels))]
    chosen = StratifiedSplit.model_validate({"kind": "stratified", **rule})
    given_splits = np.full(len(labels), NONE, np.int8)
    return assign(chosen, given_splits, labels, keys, [str(at) for at in range(len(counts))], "mine").splits


def test_shares_by_hand() -> None:
    """Quotas of 10% are 0.7, 0.7, 0.6 and 1: three in all, the whole one and the two largest remainders."""
    assert shares(np.array([7, 7, 6, 10]), 0.1).tolist() == [1, 1, 0, 1]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20), st.integers(1, 99))
def test_shares_are_exact_over_all_and_within_one_of_each_quota(totals: list[int], percent: int) -> None:
    counts = shares(np.array(totals), percent / 100)

    assert counts.sum() == (sum(totals) * percent + 50) // 100
    assert all(abs(count - total * percent / 100) < 1 for count, total in zip(counts, totals, strict=True))


def test_a_tenth_is_a_tenth() -> None:
    """Of 1005 images 100.5 is rounded up, though 0.1 is a little more than a tenth in binary."""
    assert shares(np.array([1005]), 0.1).sum() == 101


def test_every_class_gives_its_share() -> None:
    splits = drawn([20, 10], validation=0.2, test=0.1)

    assert [int((splits[:20] == split).sum()) for split in (TRAIN, VALIDATION, TEST)] == [14, 4, 2]
    assert [int((splits[20:] == split).sum()) for split in (TRAIN, VALIDATION, TEST)] == [7, 2, 1]


def test_another_seed_draws_others_and_the_same_seed_the_same() -> None:
    first, again, other = (drawn([50, 50], validation=0.3, seed=seed) for seed in (0, 0, 1))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_draw_is_pinned() -> None:
    """A change here would change data sets that people have."""
    assert np.flatnonzero(drawn([10, 10], validation=0.2) == VALIDATION).tolist() == [1, 4, 11, 19]


@pytest.mark.parametrize(
    "rule", [{"validation": 0.01}, {"validation": 0.4, "test": 0.6}, {"validation": 0.3, "test": 0.01}]
)
def test_a_class_that_a_split_would_have_nothing_of_is_refused(rule: dict[str, float]) -> None:
    with pytest.raises(DataRefused) as caught:
        drawn([10, 10], **rule)

    assert caught.value.findings[0].code == "class_too_small"
