"""Means, covariances and principal axes of images."""

import numpy as np
import pytest

from tests.specs import dataset
from trainer import moments

COLOUR = dataset(train=50, shape=(3, 6, 5)).train.images


def test_covariances_are_numpys_in_float64() -> None:
    vectors = COLOUR.reshape(50, -1).astype(float)
    colours = np.moveaxis(COLOUR, 1, -1).reshape(-1, 3).astype(float)

    assert np.allclose(moments.image_covariance(COLOUR), np.cov(vectors.T, bias=True), rtol=1e-10)
    assert np.allclose(moments.colour_covariance(COLOUR), np.cov(colours.T, bias=True), rtol=1e-10)


@pytest.mark.parametrize("chunk", [1, 7, 49])
def test_how_images_are_cut_into_chunks_changes_no_bit(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = moments.image_covariance(COLOUR), moments.colour_covariance(COLOUR), moments.sums(COLOUR)

    for name in ("SUMMED_BYTES", "MULTIPLIED_BYTES"):
        monkeypatch.setattr(moments, name, chunk * COLOUR[0].nbytes)

    assert np.array_equal(moments.image_covariance(COLOUR), whole[0])
    assert np.array_equal(moments.colour_covariance(COLOUR), whole[1])
    assert np.array_equal(moments.sums(COLOUR), whole[2])


def test_sums_are_exact_where_the_brightest_images_are_as_many_as_can_be_added_together() -> None:
    count = 2 * moments.MOST_TOGETHER + 1
    white = np.broadcast_to(np.uint8(255), (count, 1, 1, 2))

    totals, squares = moments.sums(white)

    assert totals.tolist() == [[[255 * count] * 2]]
    assert squares.tolist() == [[[255**2 * count] * 2]]
    assert moments.colour_covariance(white).tolist() == [[0]]


def test_principal_axes_diagonalize_with_variances_in_falling_order() -> None:
    covariance = moments.image_covariance(COLOUR)

    variances, axes = moments.principal_axes(covariance)

    assert np.all(np.diff(variances) <= 0)
    assert np.all(variances >= 0)
    assert np.allclose(axes.T @ axes, np.eye(90), atol=1e-12)
    assert np.allclose(axes * variances @ axes.T, covariance, atol=1e-8)


def test_each_axis_points_to_where_its_largest_entry_is_positive() -> None:
    _, axes = moments.principal_axes(moments.image_covariance(COLOUR))

    assert all(axis[np.abs(axis).argmax()] > 0 for axis in axes.T)


def test_the_sign_of_an_axis_is_no_accident() -> None:
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    covariance = turn * [3.0, 1.0] @ turn.T

    _, axes = moments.principal_axes(covariance)

    assert np.allclose(axes, [[0.6, 0.8], [0.8, -0.6]])
