"""Images that somebody has sent, made into what a network takes, by the rules by which data sets are imported.

EXIF's orientation is applied, what is transparent is laid on white, sixteen bits keep their upper eight; grey or RGB,
as the data set is; of another size, the shorter side is resized (bilinear) and the longer cut around the centre.
"""

import base64
import binascii
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from app.errors import Problem
from trainer.datasets.images import Unreadable, decode, fit, pixels
from trainer.datasets.limits import MIB, Limits
from trainer.datasets.options import ImportOptions

Images = NDArray[np.uint8]

LIMITS = Limits(image_pixels=16 * MIB)
# Pillow's own alarm, at twice as many.
Image.MAX_IMAGE_PIXELS = LIMITS.image_pixels


HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def from_files(files: Sequence[bytes], shape: tuple[int, int, int], most_bytes: int) -> Images:
    """(N, C, H, W) of image files. Raises `Problem`, with the place of each that cannot be read."""
    channels, height, width = shape
    _check_count(len(files), shape, most_bytes)
    if channels not in (1, 3):
        detail = f"The network takes images of {channels} channels; send them as npy."
        raise Problem(415, "unsupported-media-type", detail)
    options = ImportOptions(size=(height, width), channels=1 if channels == 1 else 3)
    images = np.empty((len(files), *shape), np.uint8)
    wrong = []
    for index, content in enumerate(files):
        try:
            images[index] = pixels(fit(decode(content, LIMITS)[0], options))
        except Unreadable as error:
            wrong.append({"pointer": f"/images/{index}", "code": error.code, "detail": error.detail})
    if wrong:
        raise _unreadable(wrong)
    return images


def from_base64(texts: Sequence[str]) -> list[bytes]:
    """Image files in base64. Raises `Problem`."""
    files, wrong = [], []
    for index, text in enumerate(texts):
        try:
            files.append(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            wrong.append({"pointer": f"/images/{index}", "code": "not_base64", "detail": "It is not base64."})
    if wrong:
        raise _unreadable(wrong)
    return files


def from_npy(body: bytes, shape: tuple[int, int, int], most_bytes: int) -> Images:
    """(N, C, H, W) of an array file of uint8: many images or one, grey ones also without their channel.

    Raises `Problem`. The header is believed only where the bytes are there; objects are never unpickled.
    """
    file = BytesIO(body)
    try:
        found, by_columns, kind = HEADERS[npy.read_magic(file)](file)
    except KeyError:
        raise _bad_array("Its npy format is neither version 1 nor 2; save it with numpy.save.") from None
    except (ValueError, EOFError) as error:
        raise _bad_array(f"It is no npy file: {error}.") from None
    if kind != np.uint8:
        raise _bad_array(f"Its values are {kind}; send uint8, as the pixels of image files are.")
    wanted = "×".join(map(str, shape))
    fitting = [shape, shape[1:]] if shape[0] == 1 else [shape]
    if found not in fitting and found[1:] not in fitting:
        got = "×".join(map(str, found)) or "a single number"
        raise _bad_array(f"Its shape is {got}; send N×{wanted} or {wanted}. Arrays are not resized.")
    is_one = found in fitting
    count = 1 if is_one else found[0]
    start = file.tell()
    if count * np.prod(shape, dtype=object) != len(body) - start:
        raise _bad_array("Its header promises another size than it has.")
    if count == 0:
        raise _bad_array("It holds no images.")
    _check_count(count, shape, most_bytes)
    values = np.frombuffer(body, np.uint8, offset=start)
    return values.reshape(found, order="F" if by_columns else "C").reshape(count, *shape)


def _check_count(count: int, shape: tuple[int, int, int], most_bytes: int) -> None:
    most = max(1, most_bytes // int(np.prod(shape)))
    if count > most:
        detail = f"These are {count} images; a request may have at most {most} of this size. Send several requests."
        raise Problem(413, "too-many-images", detail)


def _unreadable(wrong: Sequence[dict[str, str]]) -> Problem:
    detail = f"{len(wrong)} of the images cannot be read." if len(wrong) > 1 else "An image cannot be read."
    return Problem(422, "image-invalid", detail, errors=wrong)


def _bad_array(detail: str) -> Problem:
    place = {"pointer": "/images", "code": "bad_array", "detail": detail}
    return Problem(422, "image-invalid", "The array is not valid.", errors=[place])
