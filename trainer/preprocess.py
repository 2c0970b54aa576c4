"""Centring, scaling and whitening as the first module of every network, with the training split's statistics.

They are buffers of the network, and so a snapshot takes images as they are: uint8 in, logits out.
"""

from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from trainer import moments
from trainer.data import Images
from trainer.spec import PcaWhitening, Preprocessing, Whitening


class Standardize(nn.Module):
    """`(images - mean) / std`: images (N, C, H, W), uint8 or float32, to float32 of the same shape."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: Tensor) -> Tensor:
        return images.to(self.mean.dtype, copy=True).sub_(self.mean).div_(self.std)


class Whiten(Standardize):
    """`matrix` (D, D) times each standardized image as a vector of D = C·H·W values, in the shape of the image."""

    matrix: Tensor

    def __init__(self, mean: Tensor, std: Tensor, matrix: Tensor) -> None:
        super().__init__(mean, std)
        self.register_buffer("matrix", matrix)

    def forward(self, images: Tensor) -> Tensor:
        standard = super().forward(images)
        # In float32 under autocast too: small variances are stretched many times.
        with torch.autocast(images.device.type, enabled=False):
            return (standard.flatten(1) @ self.matrix.T).view(standard.shape)


def blank(preprocessing: Preprocessing, shape: tuple[int, int, int]) -> Standardize:
    """A module for images of `shape` (C, H, W) whose statistics are still to be loaded."""
    channels = (shape[0], 1, 1)
    mean = torch.zeros(shape if preprocessing.centre == "per_pixel" else channels)
    if preprocessing.whitening is None:
        return Standardize(mean, torch.ones(channels))
    return Whiten(mean, torch.ones(channels), torch.zeros(prod(shape), prod(shape)))


def fitted(preprocessing: Preprocessing, images: Images) -> Standardize:
    """The module with the statistics of `images` (N, C, H, W), the training split."""
    centre, std = _centre_and_std(preprocessing, images)
    mean, scale = torch.from_numpy(centre).float(), torch.from_numpy(std).float()
    if preprocessing.whitening is None:
        return Standardize(mean, scale)
    divisors = np.broadcast_to(std, images.shape[1:]).ravel()
    covariance = moments.image_covariance(images) / np.outer(divisors, divisors)
    return Whiten(mean, scale, torch.from_numpy(_whitener(preprocessing.whitening, covariance)).float())


def _centre_and_std(preprocessing: Preprocessing, images: Images) -> tuple[moments.Array, moments.Array]:
    """What is subtracted, (C, H, W) or (C, 1, 1), and what is divided by, (C, 1, 1).

    Means are over images (`per_pixel`: AlexNet's mean image) or over images and pixels (`per_channel`); the
    standard deviation is each channel's, of the centred images. A channel without any variation is left
    unscaled. Sums are exact integers (Krizhevsky 2012).
    """
    count, _, height, width = images.shape
    totals, squares = moments.sums(images)
    mean_image = totals / count
    channel_mean = mean_image.mean(axis=(1, 2), keepdims=True)
    centre = {"per_pixel": mean_image, "per_channel": channel_mean, "none": np.zeros_like(channel_mean)}
    centred_by = mean_image if preprocessing.centre == "per_pixel" else channel_mean
    mean_square = squares.sum(axis=(1, 2), keepdims=True) / (count * height * width)
    variance = mean_square - (centred_by**2).mean(axis=(1, 2), keepdims=True)
    std = np.sqrt(np.maximum(variance, 0))
    if not preprocessing.scale:
        std = np.ones_like(std)
    std[std < 1e-6] = 1.0
    return centre[preprocessing.centre], std


def _whitener(whitening: Whitening, covariance: moments.Array) -> moments.Array:
    """The matrix (D, D) that whitens what has `covariance`; the rule stands in `trainer.spec`."""
    variances, axes = moments.principal_axes(covariance)
    if isinstance(whitening, PcaWhitening):
        return np.ascontiguousarray((axes / np.sqrt(variances + whitening.epsilon)).T)
    # A product of a matrix with its own transpose comes out symmetric to the bit.
    half = axes / (variances + whitening.epsilon) ** 0.25
    symmetric: moments.Array = half @ half.T
    return symmetric
