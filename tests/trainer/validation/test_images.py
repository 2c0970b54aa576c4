"""Preprocessing and augmentation."""

from dataclasses import replace

import pytest

from tests.trainer.validation.plans import FACTS, codes, only, plan
from trainer.data import DataFacts

COLOUR = DataFacts("colours", "0" * 64, 3, 32, 32, ("a", "b"), 50_000, 10)
ZCA = {"centre": "per_pixel", "whitening": {"kind": "zca"}}


def test_a_crop_that_could_hold_nothing_of_the_image_is_refused() -> None:
    mistake = only(augmentation=[{"kind": "horizontal_flip"}, {"kind": "random_crop", "padding": 28}])

    assert mistake.pointer == "/augmentation/1/padding"


@pytest.mark.parametrize(
    ("facts", "change", "at", "code", "part"),
    [
        (FACTS, {"kind": "cutout", "size": 29}, "/augmentation/0/size", "larger_than_image", "use at most 28"),
        (
            FACTS,
            {"kind": "color_jitter", "brightness": 0.1, "saturation": 0.1},
            "/augmentation/0/saturation",
            "needs_colour",
            "for RGB images, and those of mnist5k have 1 channel",
        ),
        (FACTS, {"kind": "color_jitter", "hue": 0.1}, "/augmentation/0/hue", "needs_colour", "leave it out"),
        (FACTS, {"kind": "pca_lighting"}, "/augmentation/0/kind", "needs_colour", "leave it out"),
        (
            replace(COLOUR, channels=4),
            {"kind": "pca_lighting"},
            "/augmentation/0/kind",
            "needs_colour",
            "have 4 channels",
        ),
    ],
)
def test_a_change_that_does_not_fit_the_images_is_refused(
    facts: DataFacts, change: dict[str, object], at: str, code: str, part: str
) -> None:
    mistake = only(facts, augmentation=[change])

    assert (mistake.pointer, mistake.code) == (at, code)
    assert part in mistake.detail


def test_colour_images_take_every_change() -> None:
    changes = [
        {"kind": "color_jitter", "brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5},
        {"kind": "pca_lighting"},
        {"kind": "cutout", "size": 16},
        {"kind": "mixup"},
    ]

    assert plan(COLOUR, augmentation=changes).warnings == ()


def test_mixup_must_come_last() -> None:
    mistake = only(augmentation=[{"kind": "mixup"}, {"kind": "random_crop", "padding": 2}])

    assert (mistake.pointer, mistake.code) == ("/augmentation/0", "not_last")
    assert "move it to the end" in mistake.detail


def test_mixup_stands_once() -> None:
    mistake = only(augmentation=[{"kind": "mixup"}, {"kind": "mixup"}])

    assert (mistake.pointer, mistake.code) == ("/augmentation/1", "repeated")


@pytest.mark.parametrize("centre", ["per_channel", "none"])
def test_whitening_needs_every_pixel_centred(centre: str) -> None:
    mistake = only(preprocessing={**ZCA, "centre": centre})

    assert (mistake.pointer, mistake.code) == ("/preprocessing/centre", "not_centred")
    assert "use centre: per_pixel" in mistake.detail


def test_images_too_large_to_whiten_are_refused_with_their_size() -> None:
    mistake = only(replace(COLOUR, height=64, width=64), preprocessing=ZCA)

    assert (mistake.pointer, mistake.code) == ("/preprocessing/whitening", "larger_than_whitened")
    assert "3×64×64 = 12,288 values" in mistake.detail
    assert plan(COLOUR, preprocessing=ZCA).warnings == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"augmentation": [{"kind": "horizontal_flip"}]}, ("/augmentation/0", "changes_meaning")),
        ({"augmentation": [{"kind": "color_jitter"}]}, ("/augmentation/0", "changes_nothing")),
        ({"augmentation": [{"kind": "cutout", "size": 20}]}, ("/augmentation/0/size", "hides_most")),
        ({"augmentation": [{"kind": "mixup"}], "batch_size": 1}, ("/batch_size", "no_partner")),
        ({"preprocessing": ZCA}, ("/preprocessing/whitening/epsilon", "noise_amplified")),
        (
            {
                "network": {"kind": "convnet"},
                "preprocessing": {"centre": "per_pixel", "whitening": {"kind": "pca", "epsilon": 0.1}},
            },
            ("/preprocessing/whitening/kind", "no_neighbourhood"),
        ),
    ],
)
def test_what_hardly_helps_images_is_warned_of(changes: dict[str, object], expected: tuple[str, str]) -> None:
    assert codes(**changes) == [expected]
