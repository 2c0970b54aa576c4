"""A CSV of files and labels beside the images."""

from pathlib import Path

import pytest

from tests.trainer.datasets.files import HALVES, as_folder, as_tar, as_zip, codes, imported, plain, png, refusal, tree


def flat() -> dict[str, bytes]:
    """The tree in a folder that says nothing of classes."""
    return {f"images/{name.replace('/', '-')}": content for name, content in tree().items()}


def flat_table(header: str = "file,label,split", divider: str = ",") -> bytes:
    rows = [(f"images/{name.replace('/', '-')}", name.split("/")[1], name.split("/")[0]) for name in tree()]
    return "\n".join([header, *(divider.join(row) for row in rows)]).encode()


def test_a_table_gives_the_pack_that_class_folders_give(tmp_path: Path) -> None:
    folders = imported(as_zip(tmp_path / "a.zip", tree()))

    of_table = imported(as_zip(tmp_path / "b.zip", flat() | {"labels.csv": flat_table()}))

    assert of_table.origin.format == "table"
    assert of_table.sha256 == folders.sha256
    assert of_table.warnings == ()


@pytest.mark.parametrize(
    ("header", "divider"),
    [("filename;class;set", ";"), ("Image\tCategory\tSubset", "\t"), ("\ufefffile,label,split", ",")],
)
def test_other_words_and_dividers_are_understood(tmp_path: Path, header: str, divider: str) -> None:
    content = flat_table(header, divider)

    assert imported(as_tar(tmp_path / "mine.tar", flat() | {"labels.csv": content})).splits.train.count == 6


def test_the_path_of_a_table_is_enough(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "mine", flat() | {"labels.csv": flat_table(), "other.csv": b"file,label\nx,y"})

    manifest = imported(folder / "labels.csv")

    assert manifest.splits.validation.count == 4
    assert manifest.name == "labels"


def test_without_a_split_column_one_is_drawn(tmp_path: Path) -> None:
    content = b"file,label\n" + b"\n".join(f"{name},{name[:3]}".encode() for name in plain())

    manifest = imported(as_zip(tmp_path / "mine.zip", plain() | {"labels.csv": content}), HALVES)

    assert manifest.sha256 == imported(as_zip(tmp_path / "folders.zip", plain()), HALVES).sha256


def test_images_that_no_row_names_are_listed(tmp_path: Path) -> None:
    manifest = imported(as_zip(tmp_path / "mine.zip", flat() | {"labels.csv": flat_table(), "more.png": png(1)}))

    assert [(note.code, note.entries[0].split(":")[0]) for note in manifest.warnings] == [("ignored_files", "more.png")]


ROWS = {
    "images/nowhere.png,cat,train": "missing_file",
    "../../etc/passwd,cat,train": "climbing_path",
    "/etc/passwd,cat,train": "absolute_path",
    "images/train-cat-0.png,cat,train": "file_twice",
    "images/train-cat-0.png": "short_row",
    "more.png,,train": "empty_label",
    "more.png,cat,holdout": "unknown_split",
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_that_is_wrong_is_refused_by_its_number(tmp_path: Path, row: str) -> None:
    files = flat() | {"more.png": png(1), "labels.csv": flat_table() + b"\n" + row.encode()}

    assert codes(refusal(as_zip(tmp_path / "mine.zip", files))) == {"labels.csv:12": ROWS[row]}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"file,label\n", "no_images"),
        (b"a,b,c\n1,2,3", "no_columns"),
        (b"file,label\n\xff\xfe,cat", "not_utf8"),
        (b'file,label\n"images/train-cat-0.png"x,cat', "not_csv"),
        (b"file,label\n" + b"x" * 200_000 + b",cat", "not_csv"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, code: str) -> None:
    folder = as_folder(tmp_path / "mine", flat() | {"labels.csv": content})

    error = refusal(folder / "labels.csv")

    assert error.findings[0].code == code


def test_a_label_that_deceives_is_refused(tmp_path: Path) -> None:
    content = "file,label,split\nimages/train-cat-0.png,gnp.\u202ec,train\nimages/train-dog-0.png,dog,train".encode()

    error = refusal(as_zip(tmp_path / "mine.zip", flat() | {"labels.csv": content}))

    assert codes(error) == {"gnp.\\u202ec": "odd_character"}


def test_labels_that_differ_by_case_are_refused(tmp_path: Path) -> None:
    content = flat_table().replace(b"images/train-cat-0.png,cat", b"images/train-cat-0.png,Cat")

    error = refusal(as_zip(tmp_path / "mine.zip", flat() | {"labels.csv": content}))

    assert list(codes(error).values()) == ["colliding_name"]
