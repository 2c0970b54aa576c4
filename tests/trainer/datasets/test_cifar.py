"""CIFAR's batches, binary and pickled, and pickles that do something."""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.datasets.files import as_folder, as_tar, codes, imported, refusal
from trainer.data import DataSet, Split
from trainer.datasets import pickles
from trainer.datasets.pack import open_pack

ROWS = np.random.default_rng(0).integers(0, 256, (8, 3072), dtype=np.uint8)
NAMES = ("airplane", "automobile")


def labels(batch: int) -> list[int]:
    return [batch % 2, 1, 0, 1, 0, 1, 0, 1]


def rows(batch: int) -> np.ndarray:
    return ROWS + np.uint8(batch)


def python_10() -> dict[str, Any]:
    batches = {f"data_batch_{number}": {b"data": rows(number), b"labels": labels(number)} for number in (1, 2, 10)}
    return batches | {
        "test_batch": {b"data": rows(0), b"labels": labels(0)},
        "batches.meta": {b"label_names": [name.encode() for name in NAMES]},
    }


def pickled(batches: dict[str, Any], protocol: int = 4) -> dict[str, bytes]:
    return {f"cifar-10-batches-py/{name}": pickle.dumps(batch, protocol) for name, batch in batches.items()}


def binary_10() -> dict[str, bytes]:
    def batch(number: int) -> bytes:
        return np.concatenate([np.array(labels(number), np.uint8)[:, None], rows(number)], 1).tobytes()

    names = {f"data_batch_{number}.bin": batch(number) for number in (1, 2, 10)}
    return names | {"test_batch.bin": batch(0), "batches.meta.txt": ("\n".join(NAMES) + "\n\n").encode()}


def expected() -> DataSet:
    def split(*batches: int) -> Split:
        images = np.concatenate([rows(number) for number in batches]).reshape(-1, 3, 32, 32)
        return Split(images, np.concatenate([labels(number) for number in batches]))

    return DataSet("x", split(1, 2, 10), split(0), NAMES)


def written_by_python_2() -> dict[str, bytes]:
    """As the originals are: protocol 2, words as Python 2's strings."""
    files = {}
    for name, batch in python_10().items():
        out = io.BytesIO()
        out.write(b"\x80\x02}(")
        for key, value in batch.items():
            out.write(b"U" + bytes([len(key)]) + key)
            if isinstance(value, list):
                out.write(b"](")
                for item in value:
                    out.write(b"U" + bytes([len(item)]) + item if isinstance(item, bytes) else b"K" + bytes([item]))
                out.write(b"e")
            else:
                out.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R")
                out.write(
                    b"(K\x01K\x08M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
                )
                out.write(
                    b"J\xff\xff\xff\xffK\x00tb\x89T" + value.nbytes.to_bytes(4, "little") + value.tobytes() + b"tb"
                )
        out.write(b"u.")
        files[f"cifar-10-batches-py/{name}"] = out.getvalue()
    return files


@pytest.mark.parametrize(
    "files",
    [pickled(python_10()), pickled(python_10(), 3), written_by_python_2(), binary_10()],
    ids=["4", "3", "2", "bin"],
)
@pytest.mark.parametrize("container", [as_folder, as_tar])
def test_batches_are_read_in_the_order_of_their_numbers(
    tmp_path: Path, files: dict[str, bytes], container: Any
) -> None:
    manifest = imported(container(tmp_path / "mine", dict(reversed(files.items()))))

    assert manifest.sha256 == expected().sha256
    assert manifest.classes == NAMES
    assert manifest.origin.format == "cifar"


def test_the_pickles_written_here_are_what_numpy_reads() -> None:
    content = written_by_python_2()["cifar-10-batches-py/test_batch"]

    assert np.array_equal(pickle.loads(content, encoding="bytes")[b"data"], rows(0))


@pytest.mark.parametrize("kind", ["binary", "python"])
def test_of_cifar_100_the_fine_labels_are_taken(tmp_path: Path, kind: str) -> None:
    fine, names = list(range(8)), [f"name {number}" for number in range(8)]
    if kind == "binary":
        batch = np.concatenate([np.zeros((8, 1), np.uint8), np.array(fine, np.uint8)[:, None], ROWS], 1).tobytes()
        files = {"train.bin": batch, "test.bin": batch, "fine_label_names.txt": "\n".join(names).encode()}
        files["coarse_label_names.txt"] = b"one"
    else:
        content = pickle.dumps({b"data": ROWS, b"fine_labels": fine, b"coarse_labels": [0] * 8})
        meta = pickle.dumps({b"fine_label_names": [name.encode() for name in names]})
        files = {"train": content, "test": content, "meta": meta}

    manifest = imported(as_folder(tmp_path / "mine", files))

    assert manifest.classes == tuple(names)
    assert open_pack(tmp_path / "pack-of-mine").train.labels.tolist() == fine


class Evil:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('unpickled')",))


def with_batch(batch: Any) -> dict[str, bytes]:
    content = batch if isinstance(batch, bytes) else pickle.dumps(batch)
    return pickled(python_10()) | {"cifar-10-batches-py/data_batch_2": content}


BAD: dict[str, tuple[Any, str]] = {
    "code": (Evil(), "not_cifar"),
    "code beside": ({b"data": ROWS, b"labels": labels(1), b"x": Evil()}, "not_cifar"),
    "array of objects": ({b"data": np.array([Evil()] * 8), b"labels": labels(1)}, "not_cifar"),
    "array of floats": ({b"data": ROWS / 2, b"labels": labels(1)}, "not_cifar"),
    "no dictionary": ([1], "not_cifar"),
    "no labels": ({b"data": ROWS}, "not_cifar"),
    "no array": ({b"data": b"x", b"labels": labels(1)}, "damaged"),
    "narrow": ({b"data": ROWS[:, :-1], b"labels": labels(1)}, "damaged"),
    "too few labels": ({b"data": ROWS, b"labels": [1]}, "damaged"),
    "words for labels": ({b"data": ROWS, b"labels": ["a"] * 8}, "damaged"),
    "negative": ({b"data": ROWS, b"labels": [-1] * 8}, "label_out_of_range"),
    "beyond": ({b"data": ROWS, b"labels": [2] * 8}, "label_out_of_range"),
    "cut": (pickle.dumps({b"data": ROWS, b"labels": labels(1)})[:-100], "not_cifar"),
    "no pickle": (b"hello", "not_cifar"),
    "empty": (b"", "empty_file"),
    "system": (b"cos\nsystem\n(S'true'\ntR.", "not_cifar"),
    "huge memo": (b"\x80\x02}r\xff\xff\xff\x7f.", "not_cifar"),
    "import by attribute": (b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.", "not_cifar"),
    "persistent": (b"\x80\x02U\x01xQ.", "not_cifar"),
    "new object": (b"\x80\x02cnumpy\nndarray\n)\x81.", "not_cifar"),
    "bytes that are not there": (b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x.", "not_cifar"),
    "lying shape": (None, "damaged"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_pickle_that_is_no_batch_is_refused_and_does_nothing(tmp_path: Path, kind: str) -> None:
    batch, code = BAD[kind]
    files = with_batch(b"" if batch is None else batch)
    if batch is None:
        name = "cifar-10-batches-py/data_batch_2"
        files = written_by_python_2()
        files[name] = files[name].replace(b"K\x08M\x00\x0c\x86", b"K\x09M\x00\x0c\x86")

    error = refusal(as_folder(tmp_path / "mine", files))

    assert codes(error) == {"cifar-10-batches-py/data_batch_2": code}


def test_only_words_for_plain_values_are_taken() -> None:
    known = {opcode.name for opcode in pickletools.opcodes}

    assert known >= pickles.WORDS
    assert not pickles.WORDS & {
        "INST",
        "OBJ",
        "NEWOBJ",
        "NEWOBJ_EX",
        "EXT1",
        "EXT2",
        "EXT4",
        "PERSID",
        "BINPERSID",
        "DUP",
    }


def test_a_binary_batch_of_another_length_is_refused(tmp_path: Path) -> None:
    files = binary_10()
    files["data_batch_2.bin"] += b"x"

    assert codes(refusal(as_folder(tmp_path / "mine", files))) == {"data_batch_2.bin": "damaged"}


def test_without_names_classes_are_numbers(tmp_path: Path) -> None:
    files = {name: content for name, content in binary_10().items() if not name.endswith(".txt")}

    error = refusal(as_folder(tmp_path / "mine", files))

    assert list(codes(error)) == [str(number) for number in range(2, 10)]
