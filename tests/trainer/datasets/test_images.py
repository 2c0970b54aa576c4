"""Images of every kind by stated rules."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainer.datasets.files import as_zip, codes, encoded, imported, pixels, refusal, tree
from trainer.datasets.images import Unreadable, decode, fit, fit_block
from trainer.datasets.images import pixels as array_of
from trainer.datasets.limits import Limits
from trainer.datasets.options import ImportOptions

LIMITS = Limits()


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(decode(content, LIMITS)[0])


def refused(content: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        decode(content, LIMITS)
    return caught.value.code


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "GIF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_kinds_give_their_pixels(kind: str, channels: int) -> None:
    image = pixels(1, channels=channels) // 64 * 64
    image = np.repeat(image[..., :1], 3, 2) if kind == "GIF" and channels == 3 else image
    options = {"lossless": True} if kind == "WEBP" else {}

    found = decoded(encoded(image, kind, **options))

    assert np.array_equal(found if found.ndim == image.ndim else found[..., 0], image)


def test_jpeg_gives_about_its_pixels() -> None:
    image = np.full((16, 16, 3), (200, 100, 50), np.uint8)

    assert np.abs(decoded(encoded(image, "JPEG", quality=95)).astype(int) - image).max() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_orientation_is_applied(orientation: int) -> None:
    turned = pixels(1, 4, 6)
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation

    assert np.array_equal(decoded(encoded(turned, "PNG", exif=exif)), undo[orientation](turned))


def test_sixteen_bits_keep_their_upper_eight() -> None:
    image = np.random.default_rng(0).integers(0, 2**16, (4, 5), dtype=np.uint16)

    assert np.array_equal(decoded(encoded(image, "PNG")), image >> 8)
    assert np.array_equal(decoded(encoded(image, "TIFF")), image >> 8)


def test_thirty_two_bits_are_refused() -> None:
    assert refused(encoded(np.zeros((4, 4), np.float32), "TIFF")) == "too_deep"


def test_transparent_images_lie_on_white() -> None:
    image = np.zeros((1, 3, 4), np.uint8)
    image[0, :, 3] = (0, 128, 255)

    assert decoded(encoded(image))[0, :, 0].tolist() == [255, 127, 0]


def test_transparent_grey_images_stay_grey() -> None:
    image = np.array([[[100, 255], [100, 0]]], np.uint8)

    assert decoded(encoded(Image.fromarray(image, "LA"))).tolist() == [[100, 255]]


def test_a_palette_is_colour() -> None:
    image = Image.fromarray(np.zeros((2, 2, 3), np.uint8) + np.uint8([10, 20, 30])).quantize()

    assert decoded(encoded(image, "PNG")).tolist() == [[[10, 20, 30]] * 2] * 2


def test_cmyk_becomes_rgb() -> None:
    image = Image.new("CMYK", (2, 2), (0, 255, 255, 0))

    assert decoded(encoded(image, "TIFF")).tolist() == [[[255, 0, 0]] * 2] * 2


def test_one_bit_is_grey() -> None:
    image = Image.new("1", (2, 1), 1)

    assert decoded(encoded(image)).tolist() == [[255, 255]]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animated_images_are_refused(kind: str) -> None:
    frames = [Image.fromarray(pixels(seed)) for seed in range(3)]

    assert refused(encoded(frames[0], kind, save_all=True, append_images=frames[1:])) == "animated"


def test_of_two_pictures_for_two_eyes_the_first_is_taken() -> None:
    first = Image.new("RGB", (8, 8), (250, 0, 0))
    content = encoded(first, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])

    image, kind = decode(content, LIMITS)

    assert kind == "MPO"
    assert np.asarray(image)[4, 4, 0] > 200


@pytest.mark.parametrize("content", [b"<svg xmlns='x'/>", b"\xef\xbb\xbf<?xml version='1.0'?><svg/>"])
def test_svg_is_told_to_be_a_drawing(content: bytes) -> None:
    assert refused(content) == "drawing"


def test_the_content_decides_and_a_wrong_extension_is_noted(tmp_path: Path) -> None:
    files = {name.replace("dog/0.png", "dog/0.jpg"): content for name, content in tree().items()}

    plain = imported(as_zip(tmp_path / "a.zip", tree()))
    manifest = imported(as_zip(tmp_path / "b.zip", files))

    assert manifest.sha256 == plain.sha256
    (note,) = manifest.warnings
    assert (note.code, note.count) == ("wrong_extension", 2)


def test_grey_is_the_luma_of_itu_r_601_for_files_and_arrays() -> None:
    image = pixels(3, 20, 20)
    exact = image @ np.array([0.299, 0.587, 0.114])

    of_file = array_of(fit(Image.fromarray(image), ImportOptions(channels=1)))
    of_array = fit_block(image[None], ImportOptions(channels=1))[0]

    assert np.array_equal(of_file, of_array)
    assert np.abs(of_file[0] - exact).max() <= 1


def test_grey_becomes_three_like_channels() -> None:
    image = pixels(1, channels=1)

    assert np.array_equal(fit_block(image[None], ImportOptions(channels=3))[0], np.stack([image] * 3))
    assert np.array_equal(array_of(fit(Image.fromarray(image), ImportOptions(channels=3))), np.stack([image] * 3))


def test_crop_takes_the_centre() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(4, 6)

    found = array_of(fit(Image.fromarray(image), ImportOptions(size=(4, 4))))

    assert np.array_equal(found[0], image[:, 1:5])


def test_pad_surrounds_with_black() -> None:
    image = np.full((4, 2), 200, np.uint8)

    found = array_of(fit(Image.fromarray(image), ImportOptions(size=(4, 4), fit="pad")))

    assert found[0].tolist() == [[0, 200, 200, 0]] * 4


def test_stretch_keeps_no_shape() -> None:
    image = np.repeat(np.uint8([[10, 20]]), 8, 0)

    found = array_of(fit(Image.fromarray(image), ImportOptions(size=(2, 2), fit="stretch", filter="box")))

    assert found[0].tolist() == [[10, 20]] * 2


def test_box_is_the_mean_of_what_a_pixel_covers() -> None:
    image = pixels(1, 8, 8, 1)

    found = array_of(fit(Image.fromarray(image), ImportOptions(size=(4, 4), filter="box")))

    means = image.reshape(4, 2, 4, 2).mean(axis=(1, 3))
    assert np.abs(found[0] - means).max() <= 1


@pytest.mark.parametrize("rule", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 999), (999, 1), (7, 3), (64, 64)])
def test_any_image_comes_to_the_size_asked_for(rule: str, shape: tuple[int, int]) -> None:
    options = ImportOptions.model_validate({"size": (5, 9), "fit": rule})

    assert array_of(fit(Image.new("RGB", shape[::-1]), options)).shape == (3, 5, 9)
    assert fit_block(np.zeros((2, *shape, 3), np.uint8), options).shape == (2, 3, 5, 9)


def test_an_image_of_the_size_asked_for_is_untouched() -> None:
    image = pixels(1, 4, 5)

    assert np.array_equal(array_of(fit(Image.fromarray(image), ImportOptions(size=(4, 5)))), image.transpose(2, 0, 1))


def test_images_of_unequal_size_need_one_said(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "mine.zip", tree() | {"train/cat/9.png": encoded(pixels(1, 9, 9))})

    error = refusal(path)

    assert codes(error) == {"train/cat/9.png": "mixed_sizes"}
    assert "give a size" in str(error)
    assert imported(path, ImportOptions(size=(3, 3))).height == 3


def test_pillow_is_left_as_it_was(tmp_path: Path) -> None:
    usual = Image.MAX_IMAGE_PIXELS

    imported(as_zip(tmp_path / "mine.zip", tree()))

    assert usual == Image.MAX_IMAGE_PIXELS
