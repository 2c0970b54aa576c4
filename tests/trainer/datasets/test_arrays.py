"""Pairs of numpy arrays, and headers that lie."""

import io
import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.datasets.files import HALVES, as_folder, as_tar, as_zip, codes, imported, pixels, refusal
from trainer.data import DataSet, Split
from trainer.datasets.importer import LIMITS
from trainer.datasets.options import ImportOptions
from trainer.datasets.pack import open_pack

X = np.stack([pixels(seed) for seed in range(6)])
Y = np.array([0, 1, 2, 0, 1, 2])


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def quartet(**replaced: Any) -> dict[str, bytes]:
    arrays = {"x_train": X, "y_train": Y, "x_val": X[::-1], "y_val": Y[::-1]} | replaced
    return {f"{name}.npy": content if isinstance(content, bytes) else npy(content) for name, content in arrays.items()}


def test_an_npz_gives_the_data_sets_own_hash(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, x_train=X, y_train=Y, x_val=X[::-1], y_val=Y[::-1])

    manifest = imported(path)

    images = X.transpose(0, 3, 1, 2)
    same = DataSet("x", Split(images, Y), Split(images[::-1], Y[::-1]), ("0", "1", "2"))
    assert manifest.sha256 == same.sha256
    assert manifest.origin.format == "arrays"


@pytest.mark.parametrize("container", [as_folder, as_zip, as_tar])
@pytest.mark.parametrize(
    "images", [X, X.transpose(0, 3, 1, 2), X.astype(np.uint16) * 256 + 7], ids=["last", "first", "16 bit"]
)
def test_layouts_and_containers_give_the_same(tmp_path: Path, container: Any, images: Any) -> None:
    plain = imported(as_folder(tmp_path / "plain", quartet()))

    assert imported(container(tmp_path / "mine", quartet(x_train=images))).sha256 == plain.sha256


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x-train", "y-train", "x-valid", "y-valid"),
        ("data_training", "targets_training", "Data_Testing", "Targets_Testing"),
    ],
)
def test_usual_names_are_understood(tmp_path: Path, names: tuple[str, ...]) -> None:
    files = dict(zip((f"{name}.npy" for name in names), quartet().values(), strict=True))

    assert imported(as_folder(tmp_path / "mine", files)).splits.validation.count == 6


def test_one_pair_is_split_by_a_draw(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, images=X, labels=Y[:, None])

    assert imported(path, HALVES).splits.validation.per_class == (1, 1, 1)


def test_names_of_classes_come_from_words_or_beside_numbers(tmp_path: Path) -> None:
    words = np.array(["cat", "dog", "eel"])
    by_words = imported(as_folder(tmp_path / "a", quartet(y_train=words[Y], y_val=words[Y[::-1]])))
    beside = imported(as_folder(tmp_path / "b", quartet(classes=words)))
    asked = imported(as_folder(tmp_path / "c", quartet()), ImportOptions(classes=("cat", "dog", "eel")))

    assert by_words.classes == beside.classes == asked.classes == ("cat", "dog", "eel")
    assert by_words.sha256 == beside.sha256 == asked.sha256


def test_a_large_array_is_read_in_pieces(tmp_path: Path) -> None:
    many, labels = np.zeros((2000, 100, 100), np.uint8), np.arange(2000) % 3
    many[:, 0, 0] = np.arange(2000) % 256
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=many, y_train=labels, x_val=X[..., 0][:, :1, :1].repeat(100, 1).repeat(100, 2), y_val=Y)
    tracemalloc.start()
    try:
        imported(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 0.8 * many.nbytes
    assert np.array_equal(open_pack(tmp_path / "pack-of-mine.npz").train.images[:, 0], many)


def header(shape: str, descr: str = "'|u1'", order: str = "False") -> bytes:
    """An npy header that says anything."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


class Evil:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('unpickled')",))


LIES: dict[str, tuple[bytes, str]] = {
    "too much": (header("(1000000000000, 4, 5, 3)") + bytes(100), "lying_header"),
    "overflow": (header(f"({2**63}, {2**63}, 4, 5)") + bytes(100), "lying_header"),
    "negative": (header("(-6, 4, 5, 3)") + bytes(100), "lying_header"),
    "too little": (npy(X)[:-1], "lying_header"),
    "more": (npy(X) + b"x", "lying_header"),
    "objects": (npy(np.array([Evil()], object)), "object_type"),
    "pickle": (pickle.dumps(Evil()), "not_npy"),
    "record": (npy(np.zeros(6, [("a", "u1")])), "object_type"),
    "floats": (npy(X / 255), "images_type"),
    "fortran": (npy(np.asfortranarray(X)), "fortran_order"),
    "no npy": (b"hello", "not_npy"),
    "empty": (b"", "not_npy"),
    "code": (header("__import__('os').system('x')"), "not_npy"),
    "deep": (header("(" * 9000 + ")" * 9000), "not_npy"),
    "long header": (b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + b"x", "not_npy"),
    "flat": (npy(X[:, 0, 0]), "images_shape"),
    "four channels": (npy(np.zeros((6, 4, 5, 4), np.uint8)), "images_shape"),
    "both": (npy(np.zeros((6, 3, 5, 3), np.uint8)), "images_shape"),
    "none": (npy(X[:0]), "no_images"),
    "no pixels": (npy(X[:, :0]), "no_images"),
    "one more": (npy(np.concatenate([X, X[:1]])), "unequal_counts"),
}


@pytest.mark.parametrize("lie", LIES)
def test_images_that_are_not_what_they_say_are_refused(tmp_path: Path, lie: str) -> None:
    content, code = LIES[lie]

    error = refusal(as_folder(tmp_path / "mine", quartet(x_train=content)))

    assert set(codes(error).values()) == {code}
    assert next(iter(codes(error))) in ("x_train.npy", "y_train.npy")


LABELS: dict[str, tuple[Any, str]] = {
    "negative": (Y - 1, "label_out_of_range"),
    "huge": (Y + 10**9, "too_many_classes"),
    "floats": (Y / 2, "labels_type"),
    "one-hot": (np.eye(3)[Y], "labels_shape"),
    "mixed": (np.array(["a", "b", "c"])[Y], "labels_type"),
    "objects": (np.array([Evil()] * 6, object), "object_type"),
    "gap": (Y * 2, "empty_class"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_that_are_no_class_numbers_are_refused(tmp_path: Path, kind: str) -> None:
    labels, code = LABELS[kind]

    assert set(codes(refusal(as_folder(tmp_path / "mine", quartet(y_train=labels)))).values()) == {code}


def test_labels_beyond_the_names_are_refused(tmp_path: Path) -> None:
    error = refusal(as_folder(tmp_path / "mine", quartet(classes=np.array(["a", "b"]))))

    assert codes(error) == {"y_train.npy": "label_out_of_range"}


def test_a_pair_that_is_no_pair_is_refused(tmp_path: Path) -> None:
    without = {name: content for name, content in quartet().items() if name != "y_val.npy"}

    assert codes(refusal(as_folder(tmp_path / "mine", without))) == {"mine": "missing_file"}


def test_an_array_without_a_split_beside_others_is_refused(tmp_path: Path) -> None:
    assert codes(refusal(as_folder(tmp_path / "mine", quartet(x=X, y=Y)))) == {"x.npy": "no_split"}


def test_labels_too_long_to_hold_are_refused(tmp_path: Path) -> None:
    error = refusal(as_folder(tmp_path / "mine", quartet()), limits=replace(LIMITS, entry_bytes=100))

    assert codes(error) == {"y_train.npy": "file_too_large"}
