"""A sample sheet: a picture of some images of each class."""

from collections.abc import Sequence
from io import BytesIO
from math import ceil

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trainer.data import Images, Split

PER_CLASS = 10
MOST_CLASSES = 40
CELL = 64
GAP = 2
NAME_CHARACTERS = 24
LETTERS = 18
MARGIN = 12


def draw(split: Split, classes: Sequence[str]) -> bytes:
    """A PNG with a row for each class, at most the first 40, of images spread evenly over the split."""
    names = [_shortened(name) for name in classes[:MOST_CLASSES]]
    font = ImageFont.load_default(LETTERS)
    left = MARGIN + ceil(max(map(font.getlength, names)))
    sheet = Image.new("RGB", (left + PER_CLASS * (CELL + GAP), len(names) * (CELL + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for label, name in enumerate(names):
        top = label * (CELL + GAP)
        pen.text((0, top + CELL // 2), name, "black", font, anchor="lm")
        found = np.flatnonzero(split.labels == label)
        chosen = found[np.arange(min(PER_CLASS, len(found))) * len(found) // min(PER_CLASS, max(len(found), 1))]
        for column, index in enumerate(chosen):
            sheet.paste(_thumbnail(split.images[index]), (left + column * (CELL + GAP), top))
    out = BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def _thumbnail(image: Images) -> Image.Image:
    """Scaled to a cell: small images by whole pixels, so that they are seen as they are."""
    channels, height, width = image.shape
    picture = Image.fromarray(image[0] if channels == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
    scale = CELL / max(height, width)
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX).convert("RGB")


def _shortened(name: str) -> str:
    return name if len(name) <= NAME_CHARACTERS else name[: NAME_CHARACTERS - 1] + "…"
