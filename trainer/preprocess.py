"""Centring and scaling as the first module of every network, with the training split's statistics.

They are buffers of the network, and so a snapshot takes images as they are: uint8 in, logits out.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.data import Images
from trainer.spec import Preprocessing

CHUNK = 4096


class Standardize(nn.Module):
    """`(images - mean) / std`: images (N, C, H, W) uint8 to float32 of the same shape."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: Tensor) -> Tensor:
        return images.to(self.mean.dtype).sub_(self.mean).div_(self.std)


def blank(preprocessing: Preprocessing, shape: tuple[int, int, int]) -> Standardize:
    """A module for images of `shape` (C, H, W) whose statistics are still to be loaded."""
    channels = (shape[0], 1, 1)
    return Standardize(torch.zeros(shape if preprocessing.centre == "per_pixel" else channels), torch.ones(channels))


def fitted(preprocessing: Preprocessing, images: Images) -> Standardize:
    """The module with the statistics of `images` (N, C, H, W), the training split.

    Means are over images (`per_pixel`: AlexNet's mean image) or over images and pixels (`per_channel`); the
    standard deviation is each channel's, of the centred images. A channel without any variation is left
    unscaled. Sums are exact integers (Krizhevsky 2012).
    """
    count, _, height, width = images.shape
    totals, squares = _sums(images)
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
    return Standardize(torch.from_numpy(centre[preprocessing.centre]).float(), torch.from_numpy(std).float())


def _sums(images: Images) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sum and sum of squares over images, of each pixel (C, H, W)."""
    totals = np.zeros(images.shape[1:], np.int64)
    squares = np.zeros(images.shape[1:], np.int64)
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK].astype(np.int64)
        totals += chunk.sum(axis=0)
        squares += np.square(chunk).sum(axis=0)
    return totals, squares
