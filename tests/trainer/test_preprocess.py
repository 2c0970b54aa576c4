"""Centring and scaling with the training split's statistics."""

import numpy as np
import pytest
import torch

from tests.specs import dataset
from trainer.data import Images, load
from trainer.preprocess import blank, fitted
from trainer.spec import Preprocessing

COLOUR = dataset(train=50, shape=(3, 6, 5)).train.images


def prepared(images: Images, **settings: object) -> torch.Tensor:
    module = fitted(Preprocessing.model_validate(settings), images)
    return module(torch.tensor(images)).double()


@pytest.mark.parametrize("images", [COLOUR, load("mnist5k").train.images])
def test_per_channel_gives_every_channel_mean_0_and_std_1(images: Images) -> None:
    out = prepared(images, centre="per_channel")

    for channel in out.unbind(1):
        assert channel.mean() == pytest.approx(0, abs=1e-5)
        assert channel.std(correction=0) == pytest.approx(1, abs=1e-5)


def test_per_pixel_subtracts_the_mean_image() -> None:
    out = prepared(COLOUR, centre="per_pixel")

    assert out.mean(0).abs().max() < 1e-6
    for channel in out.unbind(1):
        assert channel.std(correction=0) == pytest.approx(1, abs=1e-5)


def test_none_without_scale_leaves_images_as_they_are() -> None:
    out = prepared(COLOUR, centre="none", scale=False)

    assert torch.equal(out, torch.tensor(COLOUR).double())


def test_none_with_scale_divides_by_the_standard_deviation() -> None:
    out = prepared(COLOUR, centre="none")

    expected = COLOUR / COLOUR.std(axis=(0, 2, 3), keepdims=True)
    assert np.allclose(out.numpy(), expected, rtol=1e-5)


def test_other_images_are_transformed_by_the_training_statistics() -> None:
    module = fitted(Preprocessing(), COLOUR)
    others = np.full((2, 3, 6, 5), 7, np.uint8)

    mean, std = (f(COLOUR, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    assert np.allclose(module(torch.tensor(others)).numpy(), (others - mean) / std, atol=1e-5)


def test_a_channel_without_variation_is_only_centred() -> None:
    flat = np.full((4, 1, 3, 3), 9, np.uint8)

    assert prepared(flat).abs().max() == 0


def test_a_blank_module_takes_saved_statistics() -> None:
    settings = Preprocessing(centre="per_pixel")
    module = blank(settings, (3, 6, 5))

    module.load_state_dict(fitted(settings, COLOUR).state_dict())

    assert torch.equal(module(torch.tensor(COLOUR)).double(), prepared(COLOUR, centre="per_pixel"))
