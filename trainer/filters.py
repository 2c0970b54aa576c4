"""A picture of what the first layer of a network looks for: its weights, a tile each. Needs no torch.

Each filter, or unit of a fully connected first layer, is drawn on its own scale: 0 is middle grey, and its weight of
largest magnitude, over all channels, is black where negative and white where positive. Weights on RGB images make
coloured tiles in a grid that is about square; on grey images, grey ones. On images of any other number of channels each
filter is a row of grey tiles, one an input channel.
"""

import json
from math import ceil, prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from trainer import header, networks
from trainer.layers import Convolution, Linear, table
from trainer.spec import TrainingSpec

Weights = NDArray[np.float32]
Pixels = NDArray[np.uint8]

RGB = 3
MIDDLE = 127.5
BACKGROUND = 255
WEIGHTED = (Convolution.__name__, Linear.__name__)


def first(path: Path) -> Weights:
    """Weights (filters, C, height, width) of the first layer of a snapshot's file; of a unit, as of a whole image.

    Raises `ValueError` for any other file and where that layer sees something else than images, or `OSError`.
    """
    try:
        with safe_open(path, framework="np") as file:
            provenance = header.read(file.metadata())
            name, shape = _first_layer(provenance)
            weights: Weights = file.get_tensor(f"{name}.weight")
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name} is not a snapshot: {error}") from error
    if weights.ndim == 4:
        return weights
    if weights.shape[1] != prod(shape):
        raise ValueError(
            f"{path.name} has no picture: its first layer with weights, {name}, does not see whole images."
        )
    return weights.reshape(len(weights), *shape)


def draw(weights: Weights, zoom: int) -> Pixels:
    """Weights (filters, C, height, width) as a picture, (H, W, 3) for three channels, else (H, W).

    A weight is a square of `zoom` pixels; tiles are that far apart, too.
    """
    count, channels, *_ = weights.shape
    grey = _grey(weights)
    if channels == RGB:
        tiles, columns = grey.transpose(0, 2, 3, 1), ceil(sqrt(count))
    else:
        tiles = grey.reshape(count * channels, *grey.shape[2:])
        columns = ceil(sqrt(count)) if channels == 1 else channels
    picture = _grid(tiles, columns)
    return picture.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _first_layer(provenance: dict[str, Any]) -> tuple[str, tuple[int, int, int]]:
    """Name of the first layer with weights, and the shape of images."""
    spec = TrainingSpec.model_validate(provenance["spec"], strict=False)
    channels, height, width = provenance["input_shape"]
    shape = (channels, height, width)
    rows = table(networks.describe(spec.network, shape, len(provenance["classes"])), shape)
    return next(row.name for row in rows if row.kind in WEIGHTED), shape


def _grey(weights: Weights) -> Pixels:
    """Each filter on its own scale; one of zeros alone is middle grey."""
    largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    scaled = weights / np.where(largest > 0, largest, 1)
    return np.rint(MIDDLE + MIDDLE * scaled).astype(np.uint8)


def _grid(tiles: Pixels, columns: int) -> Pixels:
    """Tiles (N, height, width, …) row by row, one pixel of background around each."""
    count, height, width, *colours = tiles.shape
    rows = ceil(count / columns)
    picture = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, *colours), BACKGROUND, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (
            place * (side + 1) + 1 for place, side in zip(divmod(number, columns), (height, width), strict=True)
        )
        picture[top : top + height, left : left + width] = tile
    return picture
