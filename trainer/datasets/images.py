"""Images of any kind, made grey or RGB bytes of one size by stated rules.

What a file holds decides, not what it is called. EXIF's orientation is applied; colour profiles are not. Sixteen bits
keep their upper eight. Palettes, CMYK, YCbCr and CIELAB become RGB as Pillow converts them; what is transparent is laid
on white. Of several pictures for two eyes (MPO) the first is taken; any other file of several pictures is refused.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from trainer.data import Images
from trainer.datasets.limits import Limits
from trainer.datasets.options import ImportOptions

EXTENSIONS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
FORMATS = tuple(name for name in EXTENSIONS if name != "MPO")
"""What Pillow is let try; its reader of JPEG knows MPO."""

GREY_MODES = ("1", "L", "LA", "La")
LUMA = np.array([19_595, 38_470, 7_471], np.uint32)
"""ITU-R 601-2 in parts of 65,536, as Pillow's convert("L") has it."""


class Unreadable(ValueError):
    """An image that cannot be read: `code` for programs, `detail` for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@contextmanager
def watched(limits: Limits) -> Iterator[None]:
    """Pillow as it is to decode a stranger's images: alarmed at the limit's size, and silent about odd metadata."""
    usual = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = limits.image_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = usual


def decode(content: bytes, limits: Limits) -> tuple[Image.Image, str]:
    """An image, grey (mode L) or RGB, and Pillow's name of its format. Raises `Unreadable`."""
    if not content:
        raise Unreadable("empty_file", "It is empty.")
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            _check(image, limits)
            kind = image.format or ""
            return _plain(ImageOps.exif_transpose(image)), kind
    except (Unreadable, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unreadable("image_too_large", f"It has more than {limits.image_pixels} pixels.") from None
    except UnidentifiedImageError:
        raise _unknown(content) from None
    except Exception as error:  # Pillow's readers meet damage with errors of every kind.
        raise Unreadable("damaged", f"It is damaged: {str(error) or type(error).__name__}.") from None


def fit(image: Image.Image, options: ImportOptions) -> Image.Image:
    """An image in the channels and the size that were asked for."""
    if options.channels:
        image = image.convert("L" if options.channels == 1 else "RGB")
    if options.size is None or image.size == options.size[::-1]:
        return image
    height, width = options.size
    chosen = Image.Resampling[options.filter.upper()]
    if options.fit == "stretch":
        return image.resize((width, height), chosen)
    if options.fit == "crop":
        return image.resize((width, height), chosen, box=_centre(image.size, (width, height)))
    inner = _inscribed(image.size, (width, height))
    padded = Image.new(image.mode, (width, height))
    padded.paste(image.resize(inner, chosen), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return padded


def pixels(image: Image.Image) -> Images:
    """`(C, H, W)` of a grey or RGB image."""
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def fit_block(images: NDArray[Any], options: ImportOptions) -> Images:
    """`(N, C, H, W)` of decoded images `(N, H, W)` or `(N, H, W, 3)`, by the same rules as `fit`."""
    if images.dtype == np.uint16:
        images = (images >> 8).astype(np.uint8)
    if options.size not in (None, images.shape[1:3]):
        return np.stack([pixels(fit(Image.fromarray(image), options)) for image in images])
    if images.ndim == 3:
        return np.repeat(images[:, None], options.channels or 1, axis=1)
    if options.channels == 1:
        return (((images @ LUMA) + 0x8000) >> 16).astype(np.uint8)[:, None]
    return images.transpose(0, 3, 1, 2)


def belongs(name: str, kind: str) -> bool:
    """Whether a file of Pillow's format `kind` is called as such files are."""
    return name.lower().endswith(EXTENSIONS[kind])


def _check(image: Image.Image, limits: Limits) -> None:
    """Refuse by the header, before a pixel is decoded."""
    width, height = image.size
    if width * height > limits.image_pixels:
        raise Unreadable(
            "image_too_large", f"It has {width}×{height} pixels; at most {limits.image_pixels} are decoded."
        )
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise Unreadable("animated", "It holds several pictures; save the one that is meant on its own.")


def _plain(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise Unreadable("too_deep", "Its pixels have 32 bits; save it with 8 or 16.")
    grey = image.mode in GREY_MODES
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("L" if grey else "RGB")


def _unknown(content: bytes) -> Unreadable:
    start = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<svg", b"<?xml", b"<!doctype svg")):
        return Unreadable("drawing", "It is SVG or other XML, a drawing and no pixels; save it as PNG.")
    return Unreadable("not_an_image", f"It is no image of a kind that is read: {', '.join(EXTENSIONS)}.")


def _centre(size: tuple[int, int], target: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest part around the centre that has the target's shape: left, top, right, bottom."""
    (width, height), (wide, high) = size, target
    if width * high > wide * height:
        kept = height * wide / high
        return ((width - kept) / 2, 0, (width + kept) / 2, height)
    kept = width * high / wide
    return (0, (height - kept) / 2, width, (height + kept) / 2)


def _inscribed(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Width and height, to the nearest pixel, of the largest image of this shape within the target."""
    (width, height), (wide, high) = size, target
    if width * high > wide * height:
        return wide, max(1, (2 * height * wide + width) // (2 * width))
    return max(1, (2 * width * high + height) // (2 * height)), high
