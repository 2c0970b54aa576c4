"""Small data sets in every container."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.datasets.importer import DEFAULTS, LIMITS, import_data
from trainer.datasets.limits import Limits
from trainer.datasets.manifest import Manifest
from trainer.datasets.options import ImportOptions, StratifiedSplit
from trainer.errors import DataRefused

Tree = Mapping[str, bytes]
Container = Callable[[Path, Tree], Path]

HALVES = ImportOptions(split=StratifiedSplit(kind="stratified", validation=0.5))


def pixels(seed: int, height: int = 4, width: int = 5, channels: int = 3) -> np.ndarray:
    """Noise, `(H, W)` or `(H, W, 3)`."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """An image file's bytes."""
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, kind, **options)
    return out.getvalue()


def png(seed: int, **shape: int) -> bytes:
    """Noise as a file."""
    return encoded(pixels(seed, **shape))


def tree(**replaced: bytes) -> dict[str, bytes]:
    """Two classes, three images to train and two to validate each."""
    return {
        f"{split}/{label}/{number}.png": png(hash_of(split, label, number))
        for split, count in (("train", 3), ("validation", 2))
        for label in ("cat", "dog")
        for number in range(count)
    } | replaced


def plain() -> dict[str, bytes]:
    """Two classes of four images without splits."""
    return {f"{label}/{number}.png": png(hash_of("", label, number)) for label in ("cat", "dog") for number in range(4)}


def hash_of(*parts: object) -> int:
    """A seed that is the same in every process."""
    return sum((index + 1) * ord(char) for index, char in enumerate(repr(parts)))


def as_folder(path: Path, files: Tree) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def as_zip(path: Path, files: Tree, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def as_tar(path: Path, files: Tree, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def imported(path: Path, options: ImportOptions = DEFAULTS, limits: Limits = LIMITS) -> Manifest:
    """Packed beside the source."""
    return import_data(path, path.parent / f"pack-of-{path.name}", options, limits=limits)


def refusal(path: Path, options: ImportOptions = DEFAULTS, limits: Limits = LIMITS) -> DataRefused:
    """Why it is not taken; nothing but the source is left."""
    before = sorted(item.name for item in path.parent.iterdir())
    with pytest.raises(DataRefused) as caught:
        imported(path, options, limits)
    assert sorted(item.name for item in path.parent.iterdir()) == before
    assert str(path.parent) not in str(caught.value)
    return caught.value


def codes(error: DataRefused) -> dict[str, str]:
    """What is wrong, by entry."""
    return {finding.entry: finding.code for finding in error.findings}
