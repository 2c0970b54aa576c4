"""Data sets and the IDX format."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from trainer.data import DataSet, Split, load, load_folder, read_idx
from trainer.errors import DataInvalid


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_folder(folder: Path, *, compress: bool = False, **replaced: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    images, labels = np.arange(2 * 4 * 3).reshape(2, 4, 3), np.array([0, 2])
    for prefix in ("train", "t10k"):
        for kind, content in (("images-idx3-ubyte", idx(images)), ("labels-idx1-ubyte", idx(labels))):
            name = f"{prefix}-{kind}"
            data = replaced.get(f"{prefix}_{kind.partition('-')[0]}", content)
            (folder / (f"{name}.gz" if compress else name)).write_bytes(gzip.compress(data) if compress else data)
    return folder


def test_the_bundled_digits_are_what_their_notice_says() -> None:
    digits = load("mnist5k")

    assert digits.train.images.shape == (4000, 1, 28, 28)
    assert digits.validation.images.shape == (1000, 1, 28, 28)
    assert digits.classes == tuple("0123456789")
    assert digits.facts.shape == (1, 28, 28)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DataInvalid, match="there is gaussian, mnist5k"):
        load("cifar10")


@pytest.mark.parametrize("compress", [False, True])
def test_a_folder_in_the_format_of_mnist_is_read(tmp_path: Path, compress: bool) -> None:
    found = load_folder(write_folder(tmp_path / "mine", compress=compress))

    assert found.name == "mine"
    assert found.train.images.tolist() == np.arange(24).reshape(2, 1, 4, 3).tolist()
    assert found.train.labels.tolist() == [0, 2]
    assert found.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "two zero bytes"),
        (b"\x89PNG", "two zero bytes"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "type 0x0d"),
        (b"\0\0\x08\x03\0\0", "ends within its header"),
        (b"\0\0\x08\x00", "ends within its header"),
        (idx(np.zeros(5))[:-1], "promises 5 bytes \\(5\\) and holds 4"),
        (idx(np.zeros(5)) + b"x", "promises 5 bytes \\(5\\) and holds 6"),
        (b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff", "promises 18446744065119617025 bytes"),
    ],
)
def test_a_file_that_is_not_idx_is_refused_with_the_reason(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "bad-idx"
    path.write_bytes(content)

    with pytest.raises(DataInvalid, match=f"bad-idx.*{part}") as caught:
        read_idx(path)

    assert str(tmp_path) not in str(caught.value)


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(1000)))[:-20])

    with pytest.raises(DataInvalid, match="damaged gzip"):
        read_idx(path)


@pytest.mark.parametrize(
    ("replaced", "part"),
    [
        ({"train_labels": idx(np.zeros(3))}, "2 train images and 3 labels"),
        ({"train_images": idx(np.zeros(3))}, "three dimensions"),
        ({"t10k_images": idx(np.zeros((2, 5, 3)))}, "4×3.*5×3"),
        ({"t10k_images": idx(np.zeros((0, 4, 3))), "t10k_labels": idx(np.zeros(0))}, "no images"),
    ],
)
def test_a_folder_whose_parts_do_not_fit_is_refused(tmp_path: Path, replaced: dict[str, bytes], part: str) -> None:
    with pytest.raises(DataInvalid, match=part):
        load_folder(write_folder(tmp_path, **replaced))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()

    with pytest.raises(DataInvalid, match="no train-labels-idx1-ubyte"):
        load_folder(tmp_path)


def test_the_hash_is_of_the_content_and_not_of_the_name() -> None:
    split = Split(np.zeros((2, 1, 2, 2), np.uint8), np.array([0, 1]))
    other = Split(np.ones((2, 1, 2, 2), np.uint8), np.array([0, 1]))
    first = DataSet("a", split, split, ("x", "y"))

    assert first.sha256 == DataSet("b", split, split, ("x", "y")).sha256
    assert first.sha256 != DataSet("a", other, split, ("x", "y")).sha256
    assert first.sha256 != DataSet("a", split, other, ("x", "y")).sha256
    assert first.sha256 != DataSet("a", split, split, ("x", "z")).sha256
