"""Halves of the validation split: every image once, every class in both."""

import torch

from trainer.splits import halves, indices

LABELS = torch.tensor([0, 1, 1, 0, 2, 1, 0, 0, 2, 1, 1, 0, 2])


def test_each_image_is_in_one_half_and_each_class_in_both() -> None:
    first, second = halves(LABELS, 4)

    assert sorted([*first.tolist(), *second.tolist()]) == list(range(len(LABELS)))
    assert abs(len(first) - len(second)) <= 1
    for count, other in zip(torch.bincount(LABELS[first]), torch.bincount(LABELS[second]), strict=True):
        assert abs(int(count) - int(other)) <= 1


def test_a_seed_decides_which_images_are_in_which_half() -> None:
    first, again, other = (halves(LABELS, seed)[0].tolist() for seed in (0, 0, 1))

    assert first == again
    assert first != other


def test_names_are_of_whole_splits_and_their_halves() -> None:
    first, second = halves(LABELS, 0)

    assert indices("validation/a", LABELS, 0).tolist() == first.tolist()
    assert indices("validation/b", LABELS, 0).tolist() == second.tolist()
    assert indices("validation", LABELS, 0).tolist() == list(range(13))
