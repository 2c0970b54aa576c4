"""Random changes of training images: functions over whole batches, each image with its own draw.

Images are (N, C, H, W) uint8 on any device; the generator is on the same device.
"""

from collections.abc import Sequence
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional

from trainer.randomness import generator
from trainer.spec import Augmentation, HorizontalFlip, RandomCrop


def augment(images: Tensor, augmentation: Sequence[Augmentation], seed: int, step: int) -> Tensor:
    """`images` after every change asked for; the draws are a function of the seed and the step."""
    for index, change in enumerate(augmentation):
        source = generator(images.device, seed, "augmentation", index, step)
        match change:
            case RandomCrop(padding=padding):
                images = random_crop(images, padding, source)
            case HorizontalFlip(probability=probability):
                images = horizontal_flip(images, probability, source)
            case _:
                assert_never(change)
    return images


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
