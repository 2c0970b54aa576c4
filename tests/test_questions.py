"""What goes over the broker between the API and prediction workers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.questions import Found, packed, packed_failure, unpacked

sizes = st.integers(1, 4)


@given(images=sizes, classes=sizes, members=st.integers(0, 3), is_vote=st.booleans())
def test_an_answer_arrives_to_the_bit(images: int, classes: int, members: int, is_vote: bool) -> None:
    draws = np.random.default_rng(images)
    found = Found(
        classes=draws.integers(0, classes, images),
        probabilities=None if is_vote else draws.random((images, classes)),
        members=draws.random((members, images, classes)) if members else None,
    )

    head, arrived = unpacked(packed("one", found))

    assert (head.id, head.failure) == ("one", None)
    assert arrived is not None
    for sent, came in zip(
        (found.classes, found.probabilities, found.members),
        (arrived.classes, arrived.probabilities, arrived.members),
        strict=True,
    ):
        assert (sent is None) == (came is None)
        if sent is not None:
            np.testing.assert_array_equal(sent, came)


def test_a_refusal_arrives_with_its_reason() -> None:
    head, found = unpacked(packed_failure("one", "damaged", "Because."))

    assert (head.id, head.failure, head.detail, found) == ("one", "damaged", "Because.", None)


@pytest.mark.parametrize("cut", [0, 3, 10, -8, -1])
def test_an_answer_that_is_cut_short_is_none(cut: int) -> None:
    whole = packed("one", Found(classes=np.arange(2), probabilities=np.ones((2, 3)), members=None))

    with pytest.raises(ValueError):  # noqa: PT011 (a broken head and broken arrays differ in words alone)
        unpacked(whole[:cut])
