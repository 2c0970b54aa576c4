"""Every image once an epoch, in an order of its own."""

import torch

from tests.specs import dataset
from trainer.batches import Batches
from trainer.feed import Resident

SPLIT = dataset(train=50).train


def batches(batch_size: int, *, seed: int = 1, drop_last: bool = False) -> Batches:
    return Batches(Resident(SPLIT, torch.device("cpu")), batch_size, seed, drop_last=drop_last)


def seen(source: Batches, epoch: int, skip: int = 0) -> torch.Tensor:
    return torch.cat([images for images, _ in source.epoch(epoch, skip)])


def test_every_image_is_seen_exactly_once_an_epoch_with_its_label() -> None:
    pairs = [
        (image.numpy().tobytes(), int(label))
        for images, labels in batches(8).epoch(1)
        for image, label in zip(images, labels, strict=True)
    ]

    expected = [(image.tobytes(), int(label)) for image, label in zip(SPLIT.images, SPLIT.labels, strict=True)]
    assert sorted(pairs) == sorted(expected)


def test_epochs_differ_and_repeat() -> None:
    assert not torch.equal(seen(batches(8), 1), seen(batches(8), 2))
    assert not torch.equal(seen(batches(8), 1), seen(batches(8, seed=2), 1))
    assert torch.equal(seen(batches(8), 2), seen(batches(8), 2))


def test_the_last_batch_is_short_or_dropped() -> None:
    assert batches(8).sizes() == [8, 8, 8, 8, 8, 8, 2]
    assert batches(8, drop_last=True).sizes() == [8] * 6
    assert [len(images) for images, _ in batches(8).epoch(1)] == batches(8).sizes()
    assert [len(images) for images, _ in batches(8, drop_last=True).epoch(1)] == [8] * 6


def test_an_epoch_can_begin_in_its_middle() -> None:
    whole, rest = seen(batches(8), 3), seen(batches(8), 3, skip=4)

    assert torch.equal(rest, whole[32:])
