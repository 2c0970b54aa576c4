"""Random changes of training images: functions over whole batches, each image with its own draw.

Images are (N, C, H, W) on any device, with values from 0 to 255; the generator is on the same device. They are
uint8 until the first change that makes fractions, and float32 from there on: nothing is rounded.
"""

from collections.abc import Sequence
from copy import copy
from math import sqrt, tau
from typing import Literal, Self, assert_never

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer import moments
from trainer.data import Images
from trainer.randomness import generator, seed_for
from trainer.spec import (
    Augmentation,
    ColorJitter,
    Cutout,
    HorizontalFlip,
    ImageChange,
    Mixup,
    PcaLighting,
    RandomCrop,
)

BRIGHTEST = 255
LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a pixel's grey (ITU-R BT.601)."""


class Augment:
    """What a spec asks to be done to a training batch; the draws are a function of the seed and the step.

    `images`, the training split, is where colours are learnt from; `classes` is the number of classes.
    """

    def __init__(
        self, changes: Sequence[Augmentation], images: Images, classes: int, device: torch.device, seed: int
    ) -> None:
        self._changes = changes
        self._seed = seed
        self._class_numbers = torch.arange(classes, device=device)
        cutouts = [change for change in changes if isinstance(change, Cutout)]
        self._fills = {change.fill: fill_colour(images, change.fill).to(device) for change in cutouts}
        if any(isinstance(change, PcaLighting) for change in changes):
            self._axes = lighting_axes(images).to(device)

    def with_seed(self, seed: int) -> Self:
        """The same changes, with the draws of another seed."""
        other = copy(self)
        other._seed = seed
        return other

    def __call__(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Changed images, and their targets: the labels (N,), or distributions (N, K) float32 where images are mixed.

        Mixed images are dominated by the image that `labels` tells of.
        """
        targets = labels
        for index, change in enumerate(self._changes):
            source = generator(images.device, self._seed, "augmentation", index, step)
            if isinstance(change, Mixup):
                share = mixup_share(change.alpha, self._seed, step)
                targets = (labels[:, None] == self._class_numbers).float()
                images, targets = mixup(images, targets, share, source)
            else:
                images = self._changed(images, change, source)
        return images, targets

    def _changed(self, images: Tensor, change: ImageChange, source: torch.Generator) -> Tensor:
        match change:
            case RandomCrop(padding=padding):
                return random_crop(images, padding, source)
            case HorizontalFlip(probability=probability):
                return horizontal_flip(images, probability, source)
            case ColorJitter():
                return color_jitter(images, change, source)
            case PcaLighting(std=std):
                return pca_lighting(images, self._axes, std, source)
            case Cutout(size=size, fill=fill):
                return cutout(images, size, self._fills[fill], source)
            case _:
                assert_never(change)


def random_crop(images: Tensor, padding: int, source: torch.Generator) -> Tensor:
    """Pad with zeros, then cut a window of the original size at a random place (Krizhevsky 2012)."""
    count, _, height, width = images.shape
    top, left = torch.randint(2 * padding + 1, (2, count), generator=source, device=images.device)
    padded = functional.pad(images, (padding, padding, padding, padding))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(count, device=images.device), :, top, left]


def horizontal_flip(images: Tensor, probability: float, source: torch.Generator) -> Tensor:
    """Mirror each image left and right with `probability`."""
    flipped = torch.rand(len(images), generator=source, device=images.device) < probability
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def color_jitter(images: Tensor, change: ColorJitter, source: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue by the rules in `trainer.spec`, as one affine map of colours an image.

    Contrast's offset is grey, which saturation and hue leave as it is, and so it can be added before them.
    """
    draws = 2 * torch.rand((4, len(images)), generator=source, device=images.device) - 1
    values = images.float()
    brightness, contrast = 1 + change.brightness * draws[0], 1 + change.contrast * draws[1]
    offset = brightness * (1 - contrast) * values.mean((1, 2, 3))
    values = torch.addcmul(_per_image(offset), values, _per_image(brightness * contrast))
    if change.saturation or change.hue:
        matrices = _colour_matrices(1 + change.saturation * draws[2], change.hue * draws[3])
        values = (matrices @ values.flatten(2)).view(values.shape)
    return values.clamp_(0, BRIGHTEST)


def pca_lighting(images: Tensor, axes: Tensor, std: float, source: torch.Generator) -> Tensor:
    """Add to each image a colour along the `axes` that `lighting_axes` gives (Krizhevsky 2012)."""
    lengths = std * torch.randn((len(images), 3), generator=source, device=images.device)
    return images + (lengths @ axes.T)[:, :, None, None]


def cutout(images: Tensor, size: int, fill: Tensor, source: torch.Generator) -> Tensor:
    """Blank a square with the colour `fill` (C, 1, 1) uint8, around a random pixel (DeVries and Taylor 2017)."""
    count, _, height, width = images.shape
    device = images.device
    row = torch.randint(height, (count,), generator=source, device=device)
    column = torch.randint(width, (count,), generator=source, device=device)
    rows = _within(height, row - size // 2, size)
    columns = _within(width, column - size // 2, size)
    return torch.where((rows[:, :, None] & columns[:, None, :])[:, None], fill, images)


def mixup(images: Tensor, targets: Tensor, share: float, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mix images (N, C, H, W) and targets (N, K), in equal shares, with those of the batch in another order."""
    partners = torch.randperm(len(images), generator=source, device=images.device)
    values = images.float()
    return torch.lerp(values[partners], values, share), torch.lerp(targets[partners], targets, share)


def mixup_share(alpha: float, seed: int, step: int) -> float:
    """The larger share of two mixed images, from Beta(alpha, alpha): the same on all devices (Zhang 2018)."""
    drawn = float(np.random.default_rng(seed_for(seed, "mixup", step)).beta(alpha, alpha))
    return max(drawn, 1 - drawn)


def fill_colour(images: Images, fill: Literal["mean", "black"]) -> Tensor:
    """Zeros, or the mean of each channel of images (N, C, H, W), rounded: (C, 1, 1) uint8."""
    if fill == "black":
        return torch.zeros((images.shape[1], 1, 1), dtype=torch.uint8)
    totals, _ = moments.sums(images)
    mean = totals.mean(axis=(1, 2), keepdims=True) / len(images)
    return torch.from_numpy(mean.round().astype(np.uint8))


def lighting_axes(images: Images) -> Tensor:
    """Each principal axis of the colours of RGB images (N, 3, H, W), times its eigenvalue: the columns of (3, 3).

    Eigenvalues are of values from 0 to 1, lengths of values from 0 to 255.
    """
    variances, axes = moments.principal_axes(moments.colour_covariance(images) / BRIGHTEST**2)
    return torch.from_numpy(BRIGHTEST * axes * variances).float()


def _colour_matrices(saturation: Tensor, turns: Tensor) -> Tensor:
    """Matrices (N, 3, 3) that mix a colour with its grey by `saturation` (N,), then rotate it by `turns` (N,).

    The axis of rotation is grey; a third of a turn takes red to green. Made of scalars: a small tensor sent to the
    device would wait for it.
    """
    angle = tau * turns
    stay = (1 + 2 * angle.cos()) / 3
    ahead = (1 - angle.cos()) / 3 + angle.sin() / sqrt(3)
    behind = (1 - angle.cos()) / 3 - angle.sin() / sqrt(3)
    rows = [
        [saturation * rotated + (1 - saturation) * luma for rotated, luma in zip(row, LUMA, strict=True)]
        for row in ((stay, behind, ahead), (ahead, stay, behind), (behind, ahead, stay))
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _within(length: int, start: Tensor, size: int) -> Tensor:
    """Which of `length` places lie in the `size` places from `start` (N,) on: (N, length)."""
    offset = torch.arange(length, device=start.device) - start[:, None]
    return (offset >= 0) & (offset < size)


def _per_image(values: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, 1)."""
    return values[:, None, None, None]
