"""MNIST's four files, and IDX headers that lie."""

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.datasets.files import HALVES, Container, as_folder, as_tar, as_zip, codes, imported, refusal
from tests.trainer.test_data import idx
from trainer.data import load_folder
from trainer.datasets.importer import LIMITS
from trainer.datasets.limits import MIB

IMAGES = np.arange(4 * 6 * 5).reshape(4, 6, 5)
LABELS = np.array([0, 1, 1, 0])


def quartet(suffix: str = "", **replaced: bytes) -> dict[str, bytes]:
    pack = gzip.compress if suffix == ".gz" else bytes
    return {
        f"{prefix}-{kind}-ubyte{suffix}": replaced.get(f"{prefix}_{kind[:6]}", pack(idx(array)))
        for prefix in ("train", "t10k")
        for kind, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS))
    }


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("container", [as_folder, as_zip, as_tar])
def test_the_pack_has_the_hash_that_the_folder_has(tmp_path: Path, suffix: str, container: Container) -> None:
    folder = as_folder(tmp_path / "folder", quartet())

    manifest = imported(container(tmp_path / "mine", quartet(suffix)))

    assert manifest.sha256 == load_folder(folder).sha256
    assert manifest.origin.format == "idx"


def test_other_names_of_the_files_are_understood(tmp_path: Path) -> None:
    files = {f"raw/{name.replace('-idx', '.idx')}": content for name, content in quartet().items()}

    assert imported(as_zip(tmp_path / "mine.zip", files)).splits.train.count == 4


def test_training_files_alone_are_split_by_a_draw_that_knows_no_file_names(tmp_path: Path) -> None:
    files = {name: content for name, content in quartet().items() if name.startswith("train")}
    packed = {f"raw/{name}": content for name, content in quartet(".gz").items() if name.startswith("train")}

    plain = imported(as_folder(tmp_path / "mine", files), HALVES)

    assert plain.splits.validation.per_class == (1, 1)
    assert imported(as_zip(tmp_path / "packed.zip", packed), HALVES).sha256 == plain.sha256


LIES = {
    "promises more": (idx(IMAGES)[:-1], "lying_header"),
    "holds more": (idx(IMAGES) + b"x", "lying_header"),
    "terabytes": (b"\0\0\x08\x03" + struct.pack(">III", 2**32 - 1, 2**32 - 1, 2**32 - 1), "lying_header"),
    "other numbers": (b"\0\0\x0d\x03" + bytes(100), "not_idx"),
    "flat": (idx(LABELS), "wrong_shape"),
    "no pixels": (idx(np.zeros((4, 0, 5))), "wrong_shape"),
    "none": (idx(np.zeros((0, 6, 5))), "unequal_counts"),
    "cut": (b"\0\0\x08\x03\0\0", "not_idx"),
    "one more": (idx(np.zeros((5, 6, 5))), "unequal_counts"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused(tmp_path: Path, lie: str) -> None:
    content, code = LIES[lie]

    assert set(codes(refusal(as_folder(tmp_path / "mine", quartet(train_images=content)))).values()) == {code}


def test_a_packed_header_that_lies_is_refused_before_anything_is_unpacked(tmp_path: Path) -> None:
    huge = gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", 2**31, 2**10, 2**10) + bytes(1000))

    error = refusal(as_folder(tmp_path / "mine", quartet(".gz", train_images=huge)))

    assert codes(error) == {"train-images-idx3-ubyte.gz": "bomb"}


@pytest.mark.parametrize(
    "content",
    [gzip.compress(idx(IMAGES))[:-9], gzip.compress(idx(IMAGES) + b"x"), gzip.compress(idx(IMAGES)[:-1]), b"\x1f\x8bx"],
    ids=["checksum cut off", "longer", "shorter", "no block"],
)
def test_a_packed_file_that_is_damaged_is_refused(tmp_path: Path, content: bytes) -> None:
    error = refusal(as_folder(tmp_path / "mine", quartet(".gz", train_images=content)))

    assert list(codes(error)) == ["train-images-idx3-ubyte.gz"]
    assert error.findings[0].code in ("damaged", "lying_header")


def test_labels_that_are_damaged_in_their_pack_are_refused(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(idx(LABELS)))
    content[-6] ^= 1

    error = refusal(as_folder(tmp_path / "mine", quartet(".gz", train_labels=bytes(content))))

    assert codes(error) == {"train-labels-idx1-ubyte.gz": "damaged"}


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    bomb = gzip.compress(idx(np.zeros((4, 1024, 1024), np.uint8)))

    error = refusal(
        as_folder(tmp_path / "mine", quartet(".gz", train_images=bomb)), limits=replace(LIMITS, ratio_from_bytes=MIB)
    )

    assert codes(error) == {"train-images-idx3-ubyte.gz": "bomb"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    files = {name: content for name, content in quartet().items() if name != "t10k-labels-idx1-ubyte"}

    error = refusal(as_folder(tmp_path / "mine", files))

    assert "t10k-labels" in str(error)


def test_the_same_file_packed_and_not_is_refused(tmp_path: Path) -> None:
    assert set(codes(refusal(as_folder(tmp_path / "mine", quartet() | quartet(".gz")))).values()) == {"file_twice"}
