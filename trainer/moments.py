"""Means and covariances of images, from sums that do not depend on the order of addition.

Values are whole numbers up to 255. In a chunk, sums of their products stay whole numbers far below 2^53, which float64
holds exactly, however many threads a matrix product is cut into; the sums of all chunks are added as int64.
"""

from collections.abc import Iterable, Iterator
from math import prod

import numpy as np
from numpy.typing import NDArray

from trainer.data import Images

SUMMED_BYTES, MULTIPLIED_BYTES = 2**20, 2**22
"""Of images that are looked at together, one at least: sums are quickest in the processor's caches, products in large
pieces, which take eight times as much as float64.
"""

MOST_TOGETHER = 2**16
"""Images whose squares a uint32 can add."""

Array = NDArray[np.float64]


def sums(images: Images) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sum and sum of squares over images (N, C, H, W), of each pixel (C, H, W)."""
    totals = np.zeros(images.shape[1:], np.int64)
    squares = np.zeros(images.shape[1:], np.int64)
    for chunk in _chunks(images, SUMMED_BYTES):
        values = chunk.astype(np.uint32)
        totals += values.sum(axis=0, dtype=np.uint32)
        squares += np.square(values).sum(axis=0, dtype=np.uint32)
    return totals, squares


def image_covariance(images: Images) -> Array:
    """Covariance (D, D) of images (N, C, H, W) as vectors of D = C·H·W values."""
    return _covariance(chunk.reshape(len(chunk), -1) for chunk in _chunks(images, MULTIPLIED_BYTES))


def colour_covariance(images: Images) -> Array:
    """Covariance (C, C) of the colours of all pixels of images (N, C, H, W)."""
    chunks = _chunks(images, MULTIPLIED_BYTES)
    return _covariance(np.moveaxis(chunk, 1, -1).reshape(-1, images.shape[1]) for chunk in chunks)


def principal_axes(covariance: Array) -> tuple[Array, Array]:
    """Variances (D,), in falling order and none below 0, and their directions, the columns of (D, D).

    Each direction's entry of largest magnitude, the first of such, is positive: the sign is no accident of the
    algorithm.
    """
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = np.maximum(variances[::-1], 0), axes[:, ::-1]
    largest = np.abs(axes).argmax(axis=0)
    return variances, axes * np.sign(axes[largest, np.arange(len(axes))])


def _chunks(images: Images, most_bytes: int) -> Iterator[Images]:
    size = max(1, min(most_bytes // prod(images.shape[1:]), MOST_TOGETHER))
    return (images[start : start + size] for start in range(0, len(images), size))


def _covariance(chunks: Iterable[Images]) -> Array:
    """Covariance (D, D) of the rows of all chunks (n, D)."""
    count, totals, products = 0, np.zeros((), np.int64), np.zeros((), np.int64)
    for chunk in chunks:
        values = chunk.astype(np.float64)
        count += len(values)
        totals = totals + values.sum(axis=0).astype(np.int64)
        products = products + (values.T @ values).astype(np.int64)
    mean = totals / count
    covariance: Array = products / count - np.outer(mean, mean)
    return covariance
