"""Packs: opened without being read, verified, and refused where they are not what they say."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainer.datasets.files import as_zip, encoded, imported, pixels, png, tree
from trainer.data import Split
from trainer.datasets import sheet
from trainer.datasets.options import ImportOptions
from trainer.datasets.pack import MANIFEST, SAMPLES, is_pack, open_pack, read_manifest, verify
from trainer.errors import DataInvalid


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    imported(as_zip(tmp_path / "mine", tree()))
    return tmp_path / "pack-of-mine"


def test_a_damaged_byte_is_found_by_verify_and_not_by_open(pack: Path) -> None:
    with (pack / "validation-images.npy").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))

    open_pack(pack)
    with pytest.raises(DataInvalid, match="is damaged: its content has the hash"):
        verify(pack)


@pytest.mark.parametrize("name", ["train-images.npy", "validation-labels.npy"])
def test_an_array_that_is_cut_or_gone_is_refused(pack: Path, name: str) -> None:
    content = (pack / name).read_bytes()
    (pack / name).write_bytes(content[:-1])
    with pytest.raises(DataInvalid, match=name):
        open_pack(pack)
    (pack / name).unlink()
    with pytest.raises(DataInvalid, match=name):
        open_pack(pack)


def test_an_array_of_another_shape_or_type_is_refused(pack: Path) -> None:
    np.save(pack / "train-images.npy", np.zeros((6, 3, 5, 4), np.uint8))
    with pytest.raises(DataInvalid, match=r"holds uint8 \(6, 3, 5, 4\), not uint8 \(6, 3, 4, 5\)"):
        open_pack(pack)
    np.save(pack / "train-images.npy", np.zeros((6, 3, 4, 5), object), allow_pickle=True)
    with pytest.raises(DataInvalid, match="cannot be mapped"):
        open_pack(pack)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sha256": "x"}, "sha256"),
        ({"classes": ["one"]}, "classes"),
        ({"more": 1}, "more"),
        ({"version": "2"}, "version"),
    ],
)
def test_a_manifest_that_is_not_one_is_refused(pack: Path, change: dict[str, object], said: str) -> None:
    (pack / MANIFEST).write_text(json.dumps(json.loads((pack / MANIFEST).read_text()) | change))

    with pytest.raises(DataInvalid, match=f"damaged at {said}"):
        read_manifest(pack)


def test_a_folder_without_a_manifest_is_no_pack(pack: Path) -> None:
    assert is_pack(pack)
    (pack / MANIFEST).unlink()

    assert not is_pack(pack)
    with pytest.raises(DataInvalid, match="is no pack"):
        open_pack(pack)


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    options = ImportOptions(size=(3, 4), fit="pad", filter="lanczos", channels=1, classes=("a", "b"))
    files = {name.replace("cat", "0").replace("dog", "1"): content for name, content in tree().items()}
    manifest = imported(as_zip(tmp_path / "mine", files | {"README.md": b"x"}), options)

    assert read_manifest(tmp_path / "pack-of-mine") == manifest


def test_the_sample_sheet_shows_each_class_in_a_row(pack: Path) -> None:
    found = Image.open(io.BytesIO((pack / SAMPLES).read_bytes()))
    first = open_pack(pack).train.images[0]

    assert found.format == "PNG"
    names = found.width - 10 * 66
    assert 0 < names < 60
    assert found.height == 2 * 66
    assert found.getpixel((names, 0)) == tuple(first[:, 0, 0].tolist())
    assert (pack / SAMPLES).stat().st_size < 20_000


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 500), (1, 300, 2), (3, 64, 64)])
def test_sheets_of_any_shape_are_drawn_alike_each_time(shape: tuple[int, int, int]) -> None:
    split = Split(np.zeros((50, *shape), np.uint8), np.arange(50) % 3)
    classes = ("a", "字" * 100, "\u0627\u0628", *(f"{number}" for number in range(100)))

    assert sheet.draw(split, classes) == sheet.draw(split, classes)


def test_duplicates_across_splits_are_named(tmp_path: Path) -> None:
    files = tree() | {"validation/dog/9.png": tree()["train/cat/1.png"]}

    (note,) = imported(as_zip(tmp_path / "mine", files)).warnings

    assert (note.code, note.count) == ("duplicates_across_splits", 1)
    assert note.entries == ("validation/dog/9.png: It is the same image as train/cat/1.png in the train split.",)


def test_images_of_one_colour_are_named(tmp_path: Path) -> None:
    files = tree() | {"train/cat/9.png": encoded(np.full((4, 5, 3), (1, 2, 3), np.uint8))}

    (note,) = imported(as_zip(tmp_path / "mine", files)).warnings

    assert (note.code, note.count) == ("single_colour", 1)
    assert note.entries[0].startswith("train/cat/9.png")


def test_a_class_ten_times_as_large_as_another_is_named(tmp_path: Path) -> None:
    many = {f"train/cat/x{number}.png": png(1000 + number) for number in range(28)}

    (note,) = imported(as_zip(tmp_path / "mine", tree() | many)).warnings

    assert note.code == "class_imbalance"
    assert "cat has 31 images and dog 3" in note.detail


def test_tenfold_is_no_imbalance_yet(tmp_path: Path) -> None:
    many = {f"train/cat/x{number}.png": encoded(pixels(1000 + number)) for number in range(27)}

    assert imported(as_zip(tmp_path / "mine", tree() | many)).warnings == ()
