"""Augmentation of whole batches, image by image against a plain loop over the same draws."""

import pytest
import torch
from torch import Tensor

from tests.specs import spec
from trainer.augment import augment, horizontal_flip, random_crop
from trainer.randomness import generator


def images(count: int = 16, height: int = 7, width: int = 5) -> Tensor:
    source = generator("cpu", 0, "images")
    return torch.randint(1, 256, (count, 3, height, width), generator=source, dtype=torch.uint8)


def source() -> torch.Generator:
    return generator("cpu", 5, "test")


@pytest.mark.parametrize("padding", [1, 3])
def test_random_crop_is_the_plain_loop(padding: int) -> None:
    batch = images()
    count, channels, height, width = batch.shape
    tops, lefts = torch.randint(2 * padding + 1, (2, count), generator=source())

    cropped = random_crop(batch, padding, source())

    for image, top, left, result in zip(batch, tops.tolist(), lefts.tolist(), cropped, strict=True):
        canvas = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=torch.uint8)
        canvas[:, padding : padding + height, padding : padding + width] = image
        assert torch.equal(result, canvas[:, top : top + height, left : left + width])


def test_random_crop_reaches_every_place() -> None:
    tops, lefts = torch.randint(3, (2, 500), generator=source())

    assert {(top, left) for top, left in zip(tops.tolist(), lefts.tolist(), strict=True)} == {
        (top, left) for top in range(3) for left in range(3)
    }


def test_horizontal_flip_is_the_plain_loop() -> None:
    batch = images(64)
    flips = torch.rand(64, generator=source()) < 0.3

    flipped = horizontal_flip(batch, 0.3, source())

    assert 0 < flips.sum() < 64
    for image, flip, result in zip(batch, flips.tolist(), flipped, strict=True):
        assert torch.equal(result, image.flip(2) if flip else image)


@pytest.mark.parametrize(("probability", "flips"), [(0.0, False), (1.0, True)])
def test_a_flip_of_probability_0_or_1_is_certain(probability: float, flips: bool) -> None:
    batch = images()

    assert torch.equal(horizontal_flip(batch, probability, source()), batch.flip(3) if flips else batch)


def test_changes_are_applied_in_order_with_draws_of_seed_and_step() -> None:
    changes = spec(augmentation=[{"kind": "random_crop", "padding": 1}, {"kind": "horizontal_flip"}]).augmentation
    batch = images()

    by_hand = random_crop(batch, 1, generator("cpu", 3, "augmentation", 0, 9))
    by_hand = horizontal_flip(by_hand, 0.5, generator("cpu", 3, "augmentation", 1, 9))

    assert torch.equal(augment(batch, changes, 3, 9), by_hand)
    assert not torch.equal(augment(batch, changes, 3, 10), by_hand)
    assert not torch.equal(augment(batch, changes, 4, 9), by_hand)


def test_the_batch_itself_is_not_changed() -> None:
    batch = images()
    before = batch.clone()

    random_crop(batch, 2, source())
    horizontal_flip(batch, 0.5, source())

    assert torch.equal(batch, before)
