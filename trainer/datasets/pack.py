"""A pack: a data set as a folder whose arrays are mapped into memory and not read.

    dataset.json              `manifest.Manifest`
    train-images.npy          uint8 (N, C, H, W), in C order
    train-labels.npy          int64 (N,)
    validation-images.npy     the same, and test-… where there is a test split
    samples.png               some images of each class

The order of images is canonical: by class and path in the order of code points, or as in the source where images have
no paths.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from trainer.data import DataSet, Split, content_hash
from trainer.datasets.manifest import Manifest, SplitFacts, SplitName
from trainer.errors import DataInvalid

MANIFEST = "dataset.json"
SAMPLES = "samples.png"
LARGEST_MANIFEST_BYTES = 64 * 1024**2


def images_file(split: str) -> str:
    """The name of the file with a split's images."""
    return f"{split}-images.npy"


def labels_file(split: str) -> str:
    """The name of the file with a split's labels."""
    return f"{split}-labels.npy"


def is_pack(folder: Path) -> bool:
    """Whether this folder is a whole pack: the manifest is written last."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """What is known of a pack without its images. Raises `DataInvalid`."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            text = file.read(LARGEST_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        raise DataInvalid(f"{folder.name} is no pack: it has no {MANIFEST}.") from None
    if len(text) > LARGEST_MANIFEST_BYTES:
        raise DataInvalid(f"{MANIFEST} of {folder.name} is larger than {LARGEST_MANIFEST_BYTES} bytes.")
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataInvalid(
            f"{MANIFEST} of {folder.name} is damaged at {where or 'its start'}: {first['msg']}."
        ) from None


def open_pack(folder: Path) -> DataSet:
    """The data set in a pack, its images mapped and not read. Raises `DataInvalid` where files are not as described."""
    manifest = read_manifest(folder)
    return DataSet(
        name=manifest.name,
        train=open_split(folder, "train", manifest),
        validation=open_split(folder, "validation", manifest),
        classes=manifest.classes,
        test=open_split(folder, "test", manifest) if manifest.splits.test else None,
        known_sha256=manifest.sha256,
    )


def open_split(folder: Path, name: SplitName, manifest: Manifest) -> Split:
    """One split that the manifest has, mapped. Raises `DataInvalid` where files are not as described."""
    facts: SplitFacts = getattr(manifest.splits, name)
    shape = (facts.count, manifest.channels, manifest.height, manifest.width)
    images = _mapped(folder / images_file(name), np.dtype(np.uint8), shape)
    labels = _mapped(folder / labels_file(name), np.dtype(np.int64), (facts.count,))
    return Split(images, labels)


def verify(folder: Path) -> None:
    """Read a whole pack and compare its hash. Raises `DataInvalid` where it is not what its manifest says."""
    dataset = open_pack(folder)
    found = content_hash(dataset)
    if found != dataset.sha256:
        raise DataInvalid(f"{folder.name} is damaged: its content has the hash {found}, and {dataset.sha256} is noted.")


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataInvalid(f"{path.name} of {path.parent.name} cannot be mapped: {error}.") from None
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise DataInvalid(f"{path.name} of {path.parent.name} holds {array.dtype} {array.shape}, not {dtype} {shape}.")
    return array
