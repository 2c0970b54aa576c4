"""Data to import, as people have it: as small as it can be."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog")


def images(*, per_class: int = 10, side: int = 8, seed: int = 0) -> dict[str, bytes]:
    """PNGs of noise by their paths, dogs brighter than cats: to train on, and half as many to validate."""
    draws, found = np.random.default_rng(seed), {}
    for split, count in (("train", per_class), ("validation", -(-per_class // 2))):
        for label, name in enumerate(CLASSES):
            for number in range(count):
                pixels = draws.integers(0, 100, (side, side)) + 120 * label
                file = io.BytesIO()
                Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
                found[f"{split}/{name}/{number:03}.png"] = file.getvalue()
    return found


def zipped(files: dict[str, bytes]) -> bytes:
    """Files as a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    """Files as a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def written(files: dict[str, bytes], folder: Path) -> Path:
    """Files in a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
