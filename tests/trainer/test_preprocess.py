"""Centring, scaling and whitening with the training split's statistics."""

import numpy as np
import pytest
import torch

from tests.specs import dataset
from trainer.data import Images, load
from trainer.preprocess import Whiten, blank, fitted
from trainer.randomness import generator
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


MANY = dataset(train=400, shape=(3, 4, 5)).train.images
DIGITS = load("mnist5k").train.images[:, :, ::2, ::2]


def whitened(images: Images, kind: str, epsilon: float, **settings: object) -> torch.Tensor:
    return prepared(images, centre="per_pixel", whitening={"kind": kind, "epsilon": epsilon}, **settings)


def whitener(kind: str, epsilon: float = 1e-5) -> Whiten:
    settings = {"centre": "per_pixel", "whitening": {"kind": kind, "epsilon": epsilon}}
    module = fitted(Preprocessing.model_validate(settings), MANY)
    assert isinstance(module, Whiten)
    return module


def covariance(out: torch.Tensor) -> torch.Tensor:
    return torch.cov(out.flatten(1).T, correction=0)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("kind", ["zca", "pca"])
def test_whitened_images_have_mean_0_and_the_identity_as_covariance(kind: str, scale: bool) -> None:
    out = whitened(MANY, kind, 1e-5, scale=scale)

    assert out.shape == MANY.shape
    assert out.mean(0).abs().max() < 1e-4
    assert (covariance(out) - torch.eye(60)).abs().max() < 1e-3


def test_components_of_little_variance_stay_short_of_1_by_the_epsilon_and_those_of_none_stay_at_0() -> None:
    plain = covariance(prepared(DIGITS, centre="per_pixel"))
    variances = torch.linalg.eigvalsh(plain).flip(0).clamp(min=0)
    epsilon = 1e-5

    found = covariance(whitened(DIGITS, "pca", epsilon))

    assert torch.allclose(found, torch.diag(variances / (variances + epsilon)), atol=1e-5)
    ample, none = variances > 2e3 * epsilon, variances < 1e-9
    assert (int(ample.sum()), int(none.sum())) == (130, 36)
    assert (found[ample][:, ample] - torch.eye(130)).abs().max() < 1e-3
    assert found.diagonal()[none].max() < 1e-9


@pytest.mark.parametrize("kind", ["zca", "pca"])
def test_whitening_is_its_formula_in_float64(kind: str) -> None:
    epsilon = 0.1
    centred = MANY - MANY.mean(0)
    scaled = (centred / np.sqrt((centred**2).mean((0, 2, 3), keepdims=True))).reshape(400, -1)
    u, variances, _ = np.linalg.svd(scaled.T @ scaled / 400)
    rotated = scaled @ u / np.sqrt(variances + epsilon)

    out = whitened(MANY, kind, epsilon).flatten(1).numpy()

    if kind == "zca":
        assert np.allclose(out, rotated @ u.T, atol=1e-4)
    else:
        # The formula leaves the sign of each component open.
        assert np.allclose(np.abs(out), np.abs(rotated), atol=1e-4)


def test_the_matrix_of_zca_is_symmetric_and_positive() -> None:
    matrix = whitener("zca").matrix

    assert torch.equal(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix.double()).min() > 0


def test_no_whitened_images_are_closer_to_the_images_than_those_of_zca() -> None:
    plain = prepared(MANY, centre="per_pixel").flatten(1)
    variances = torch.linalg.eigvalsh(torch.cov(plain.T, correction=0))
    rotation, _ = torch.linalg.qr(torch.randn(60, 60, generator=generator("cpu", 0, "rotation")).double())

    zca = whitened(MANY, "zca", 1e-5).flatten(1)
    pca = whitened(MANY, "pca", 1e-5).flatten(1)

    least = (variances.sqrt() - 1).square().mean()
    assert (zca - plain).square().mean() == pytest.approx(least.item(), rel=1e-3)
    assert (pca - plain).square().mean() > 1.1 * least
    assert (zca @ rotation - plain).square().mean() > 1.1 * least


def test_pca_gives_the_component_of_most_variance_first() -> None:
    out = whitened(MANY, "pca", 10.0).flatten(1).var(0)

    assert torch.all(out.diff() <= 1e-6)
    assert out[0] > 0.4 > out[-1]


def test_other_images_are_whitened_by_the_training_statistics() -> None:
    module = whitener("zca")
    others = torch.full((2, 3, 4, 5), 7, dtype=torch.uint8)

    expected = ((others - module.mean) / module.std).flatten(1) @ module.matrix.T
    assert torch.equal(module(others), expected.view(2, 3, 4, 5))
    assert others.unique().tolist() == [7]


@pytest.mark.parametrize("kind", ["zca", "pca"])
def test_a_blank_module_takes_a_saved_whitening(kind: str) -> None:
    settings = Preprocessing.model_validate({"centre": "per_pixel", "whitening": {"kind": kind}})
    module = blank(settings, (3, 4, 5))

    module.load_state_dict(fitted(settings, MANY).state_dict())

    assert torch.equal(module(torch.tensor(MANY)).double(), whitened(MANY, kind, 1e-5))


def test_images_that_are_fractions_already_are_not_changed_in_place() -> None:
    images = torch.rand(2, 3, 4, 5) * 255
    before = images.clone()

    whitener("zca")(images)

    assert torch.equal(images, before)
