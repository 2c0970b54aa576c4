"""Augmentation of whole batches, image by image against a plain loop over the same draws."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.specs import dataset, spec
from trainer.augment import (
    Augment,
    color_jitter,
    cutout,
    fill_colour,
    horizontal_flip,
    lighting_axes,
    mixup,
    mixup_share,
    pca_lighting,
    random_crop,
)
from trainer.batches import Batches
from trainer.feed import Resident
from trainer.randomness import generator
from trainer.spec import ColorJitter

COLOUR = dataset(train=50, shape=(3, 7, 5)).train.images
LABELS = torch.arange(16) % 4


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


JITTERS: list[dict[str, float]] = [
    {"brightness": 0.4},
    {"contrast": 1.0},
    {"saturation": 0.7},
    {"hue": 0.5},
    {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.1},
]


def jitter(**strengths: float) -> ColorJitter:
    return ColorJitter.model_validate({"kind": "color_jitter", **strengths})


def jittered(image: np.ndarray, change: ColorJitter, u: list[float]) -> np.ndarray:
    """One image (3, H, W) float64, pixel by pixel."""
    image = image * (1 + change.brightness * u[0])
    f, m = 1 + change.contrast * u[1], image.mean()
    image = f * image + (1 - f) * m
    f, angle = 1 + change.saturation * u[2], 2 * math.pi * change.hue * u[3]
    axis = np.ones(3) / math.sqrt(3)
    out = np.empty_like(image)
    for place in np.ndindex(image.shape[1:]):
        colour = image[:, *place]
        colour = f * colour + (1 - f) * (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2])
        # Rodrigues' formula.
        along = axis * (axis @ colour) * (1 - math.cos(angle))
        out[:, *place] = colour * math.cos(angle) + np.cross(axis, colour) * math.sin(angle) + along
    return out.clip(0, 255)


@pytest.mark.parametrize("strengths", JITTERS)
def test_color_jitter_is_the_plain_loop(strengths: dict[str, float]) -> None:
    batch, change = images(), jitter(**strengths)
    draws = 2 * torch.rand(4, 16, generator=source()) - 1

    changed = color_jitter(batch, change, source())

    assert changed.dtype == torch.float32
    assert (changed - batch).abs().mean() > 5
    for image, u, result in zip(batch, draws.T.tolist(), changed, strict=True):
        assert np.allclose(result, jittered(image.double().numpy(), change, u), atol=1e-3)


def test_grey_images_are_jittered_in_brightness_and_contrast() -> None:
    batch, change = images()[:, :1], jitter(brightness=0.5, contrast=0.5)
    draws = (2 * torch.rand(4, 16, generator=source()) - 1).T.tolist()

    changed = color_jitter(batch, change, source())

    for image, (b, c, *_), result in zip(batch.double(), draws, changed, strict=True):
        image = image * (1 + b / 2)
        expected = (1 + c / 2) * image - c / 2 * image.mean()
        assert torch.allclose(result.double(), expected.clamp(0, 255), atol=1e-3)


def test_a_third_of_a_turn_takes_red_to_green_to_blue(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = images()
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, 5 / 6))

    turned = color_jitter(batch, jitter(hue=0.5), source())

    assert torch.allclose(turned, batch.float()[:, [2, 0, 1]], atol=1e-3)


def test_jitter_stays_between_0_and_255_without_rounding() -> None:
    changed = color_jitter(images(64), jitter(brightness=1.0, contrast=1.0), source())

    assert (changed.min(), changed.max()) == (0, 255)
    assert not torch.equal(changed, changed.round())


def test_pca_lighting_is_the_plain_loop() -> None:
    batch = images()
    pixels = np.moveaxis(COLOUR, 1, -1).reshape(-1, 3) / 255
    eigenvalues, eigenvectors = np.linalg.eigh(np.cov(pixels.T, bias=True))
    alphas = 0.5 * torch.randn(16, 3, generator=source())

    changed = pca_lighting(batch, lighting_axes(COLOUR), 0.5, source())

    for image, alpha, result in zip(batch.double().numpy(), alphas.tolist(), changed, strict=True):
        expected = image.copy()
        for a, value, vector in zip(alpha, eigenvalues[::-1], eigenvectors.T[::-1], strict=True):
            direction = vector * np.sign(vector[np.abs(vector).argmax()])
            expected += 255 * (a * value * direction)[:, None, None]
        assert np.allclose(result, expected, atol=1e-3)


def test_lighting_has_eigenvalues_of_values_from_0_to_1() -> None:
    covariance = np.cov(np.moveaxis(COLOUR, 1, -1).reshape(-1, 3).T / 255, bias=True)
    lengths = lighting_axes(COLOUR).norm(dim=0) / 255

    assert np.allclose(lengths, np.linalg.eigvalsh(covariance)[::-1], rtol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_cutout_is_the_plain_loop(size: int, dtype: torch.dtype) -> None:
    batch, fill = images(64).to(dtype), torch.tensor([7, 8, 9], dtype=torch.uint8)[:, None, None]
    drawn = source()
    rows = torch.randint(7, (64,), generator=drawn).tolist()
    columns = torch.randint(5, (64,), generator=drawn).tolist()

    changed = cutout(batch, size, fill, source())

    assert changed.dtype == dtype
    for image, row, column, result in zip(batch, rows, columns, changed, strict=True):
        expected = image.clone()
        for y in range(row - size // 2, row - size // 2 + size):
            for x in range(column - size // 2, column - size // 2 + size):
                if 0 <= y < 7 and 0 <= x < 5:
                    expected[:, y, x] = torch.tensor([7, 8, 9])
        assert torch.equal(result, expected)


def test_the_mean_colour_is_the_training_splits_rounded() -> None:
    expected = COLOUR.mean(axis=(0, 2, 3)).round()

    assert fill_colour(COLOUR, "mean").flatten().tolist() == expected.tolist()
    assert fill_colour(COLOUR, "mean").dtype == torch.uint8


def test_mixup_is_the_plain_loop() -> None:
    batch, targets = images(), torch.eye(4)[LABELS]
    partners = torch.randperm(16, generator=source()).tolist()

    mixed, soft = mixup(batch, targets, 0.7, source())

    for index, partner in enumerate(partners):
        expected = 0.7 * batch[index].double() + 0.3 * batch[partner].double()
        assert torch.allclose(mixed[index].double(), expected, atol=1e-4)
        assert torch.allclose(soft[index], 0.7 * targets[index] + 0.3 * targets[partner], atol=1e-6)


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 100.0])
def test_shares_are_the_larger_ones_of_a_beta_distribution(alpha: float) -> None:
    shares = np.array([mixup_share(alpha, 1, step) for step in range(4000)])
    reference = np.random.default_rng(0).beta(alpha, alpha, 100_000)

    assert shares.min() >= 0.5
    assert shares.max() <= 1
    quantiles = [0.1, 0.25, 0.5, 0.75, 0.9]
    expected = np.quantile(np.maximum(reference, 1 - reference), quantiles)
    assert np.allclose(np.quantile(shares, quantiles), expected, atol=0.03)


EVERYTHING: list[dict[str, Any]] = [
    {"kind": "random_crop", "padding": 1},
    {"kind": "horizontal_flip"},
    {"kind": "color_jitter", "brightness": 0.4, "hue": 0.1},
    {"kind": "pca_lighting"},
    {"kind": "cutout", "size": 3},
    {"kind": "mixup", "alpha": 1.0},
]


def augment(changes: list[dict[str, Any]], seed: int = 3) -> Augment:
    return Augment(spec(augmentation=changes).augmentation, COLOUR, 4, torch.device("cpu"), seed)


def test_changes_are_applied_in_order_with_draws_of_seed_and_step() -> None:
    batch = images()
    sources = [generator("cpu", 3, "augmentation", index, 9) for index in range(6)]

    by_hand = random_crop(batch, 1, sources[0])
    by_hand = horizontal_flip(by_hand, 0.5, sources[1])
    by_hand = color_jitter(by_hand, jitter(brightness=0.4, hue=0.1), sources[2])
    by_hand = pca_lighting(by_hand, lighting_axes(COLOUR), 0.1, sources[3])
    by_hand = cutout(by_hand, 3, fill_colour(COLOUR, "mean"), sources[4])
    by_hand, targets = mixup(by_hand, torch.eye(4)[LABELS], mixup_share(1.0, 3, 9), sources[5])

    changed, mixed = augment(EVERYTHING)(batch, LABELS, 9)
    assert torch.equal(changed, by_hand)
    assert torch.equal(mixed, targets)
    assert torch.equal(augment(EVERYTHING)(batch, LABELS, 9)[0], by_hand)
    assert not torch.equal(augment(EVERYTHING)(batch, LABELS, 10)[0], by_hand)
    assert not torch.equal(augment(EVERYTHING, seed=4)(batch, LABELS, 9)[0], by_hand)


@pytest.mark.parametrize("change", EVERYTHING, ids=lambda change: change["kind"])
def test_the_draws_of_each_change_are_of_the_seed_and_the_step(change: dict[str, Any]) -> None:
    batch = images()

    def changed(seed: int, step: int) -> Tensor:
        return augment([change], seed)(batch, LABELS, step)[0]

    assert torch.equal(changed(3, 9), changed(3, 9))
    assert not torch.equal(changed(3, 9), changed(3, 10))
    assert not torch.equal(changed(3, 9), changed(4, 9))


@pytest.mark.parametrize("change", EVERYTHING, ids=lambda change: change["kind"])
def test_the_batch_itself_is_not_changed(change: dict[str, Any]) -> None:
    for batch in (images(), images().float()):
        before = batch.clone()

        augment([change])(batch, LABELS, 1)

        assert torch.equal(batch, before)


def test_bytes_stay_bytes_until_a_change_makes_fractions() -> None:
    whole = [EVERYTHING[0], EVERYTHING[1], EVERYTHING[4]]
    batch = images()

    assert augment(whole)(batch, LABELS, 1)[0].dtype == torch.uint8
    assert augment([EVERYTHING[3], *whole])(batch, LABELS, 1)[0].dtype == torch.float32


def test_without_mixup_targets_are_the_labels() -> None:
    _, targets = augment(EVERYTHING[:-1])(images(), LABELS, 1)

    assert targets is LABELS


def test_a_mixed_image_is_dominated_by_the_one_its_label_tells_of() -> None:
    for step in range(20):
        _, targets = augment(EVERYTHING)(images(), LABELS, step)

        assert torch.allclose(targets.sum(1), torch.ones(16))
        assert (targets.gather(1, LABELS[:, None]) >= 0.5).all()


def test_black_cutout_fills_with_0() -> None:
    batch = images()

    changed, _ = augment([{"kind": "cutout", "size": 3, "fill": "black"}])(batch, LABELS, 1)

    hidden = changed != batch
    assert hidden.any()
    assert (changed[hidden] == 0).all()


def test_an_empty_list_changes_nothing() -> None:
    batch = images()

    changed, targets = augment([])(batch, LABELS, 1)

    assert changed is batch
    assert targets is LABELS


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_no_change_waits_for_the_gpu() -> None:
    device = torch.device("cuda")
    changing = Augment(spec(augmentation=EVERYTHING).augmentation, COLOUR, 4, device, 3)
    batch, labels = images().to(device), LABELS.to(device)

    torch.cuda.set_sync_debug_mode("error")
    try:
        changed, targets = changing(batch, labels, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert changed.shape == batch.shape
    assert changed.isfinite().all()
    assert torch.equal(targets, changing(batch, labels, 1)[1])


def test_batches_and_what_augmentation_makes_of_them_are_the_same_bits_with_any_number_of_threads() -> None:
    # Large enough that torch divides the work among its threads.
    many = dataset(train=300, shape=(3, 32, 32)).train
    changes = spec(
        augmentation=[
            {"kind": "random_crop", "padding": 4},
            {"kind": "horizontal_flip"},
            {"kind": "color_jitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
            {"kind": "pca_lighting"},
            {"kind": "cutout", "size": 8},
            {"kind": "mixup"},
        ]
    ).augmentation
    device, threads = torch.device("cpu"), torch.get_num_threads()
    found = set()
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            augment = Augment(changes, many.images, 4, device, 0)
            made = [
                augment(images, labels, step)
                for step, (images, labels) in enumerate(
                    Batches(Resident(many, device), 128, 0, drop_last=False).epoch(1), start=1
                )
            ]
            found.add(b"".join(images.numpy().tobytes() + targets.numpy().tobytes() for images, targets in made))
    finally:
        torch.set_num_threads(threads)

    assert len(found) == 1
