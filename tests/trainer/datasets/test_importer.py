"""From what people have to a pack: the same data give the same pack, whatever they come in."""

import io
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainer.datasets.files import (
    HALVES,
    Container,
    as_folder,
    as_tar,
    as_zip,
    codes,
    encoded,
    imported,
    pixels,
    plain,
    png,
    refusal,
    tree,
)
from trainer.data import DataSet, Split
from trainer.datasets.budget import Progress
from trainer.datasets.importer import LIMITS, import_data
from trainer.datasets.limits import Limits
from trainer.datasets.options import ImportOptions
from trainer.datasets.pack import open_pack, verify
from trainer.errors import DataInvalid

CONTAINERS: dict[str, Container] = {
    "folder": as_folder,
    "zip": as_zip,
    "tar": as_tar,
    "tar.gz": lambda path, files: as_tar(path, files, "w:gz"),
    "tar.bz2": lambda path, files: as_tar(path, files, "w:bz2"),
    "tar.xz": lambda path, files: as_tar(path, files, "w:xz"),
}


def expected() -> DataSet:
    """The tree's images, by hand."""
    files = tree()

    def split(name: str) -> Split:
        chosen = sorted(path for path in files if path.startswith(name))
        images = [np.asarray(Image.open(io.BytesIO(files[path]))).transpose(2, 0, 1) for path in chosen]
        return Split(np.stack(images), np.array([int("/dog/" in path) for path in chosen]))

    return DataSet("any", split("train"), split("validation"), ("cat", "dog"))


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_in_any_order_gives_the_data_sets_own_hash(tmp_path: Path, container: str) -> None:
    shuffled = dict(sorted(tree().items(), key=lambda item: item[1]))
    name = "mine" if container == "folder" else f"mine.{container}"

    manifest = imported(CONTAINERS[container](tmp_path / name, shuffled))

    assert manifest.sha256 == expected().sha256
    assert manifest.name == "mine"
    assert manifest.origin.container == container[:3].replace("fol", "folder")
    assert manifest.origin.format == "class_folders"


def test_a_pack_is_the_images_in_canonical_order(tmp_path: Path) -> None:
    imported(as_zip(tmp_path / "mine.zip", tree()))

    found = open_pack(tmp_path / "pack-of-mine.zip")

    verify(tmp_path / "pack-of-mine.zip")
    assert found.sha256 == DataSet("other", found.train, found.validation, found.classes).sha256
    assert np.array_equal(found.train.images, expected().train.images)
    assert found.validation.labels.tolist() == [0, 0, 1, 1]
    assert isinstance(found.train.images, np.memmap)


def test_the_manifest_has_counts_and_exact_moments_of_the_training_split(tmp_path: Path) -> None:
    manifest = imported(as_zip(tmp_path / "mine.zip", tree()))

    images = expected().train.images.astype(np.float64)
    assert (manifest.channels, manifest.height, manifest.width) == (3, 4, 5)
    assert manifest.splits.train.per_class == (3, 3)
    assert manifest.splits.validation.per_class == (2, 2)
    assert manifest.splits.test is None
    assert np.allclose(manifest.mean, images.mean(axis=(0, 2, 3)), rtol=1e-12)
    assert np.allclose(manifest.std, images.std(axis=(0, 2, 3)), rtol=1e-12)
    assert manifest.facts.train_count == 6


def test_a_test_split_is_kept_and_is_part_of_the_hash(tmp_path: Path) -> None:
    files = tree() | {f"test/{label}/0.png": png(seed) for seed, label in enumerate(("cat", "dog"))}

    manifest = imported(as_zip(tmp_path / "mine.zip", files))

    found = open_pack(tmp_path / "pack-of-mine.zip")
    assert found.test is not None
    assert len(found.test) == 2
    assert manifest.sha256 != expected().sha256
    verify(tmp_path / "pack-of-mine.zip")


def test_without_a_validation_split_the_test_split_validates_and_that_is_said(tmp_path: Path) -> None:
    files = {name.replace("validation/", "test/"): content for name, content in tree().items()}

    manifest = imported(as_zip(tmp_path / "mine.zip", files))

    assert manifest.sha256 == expected().sha256
    assert [note.code for note in manifest.warnings] == ["test_validates"]


def test_a_folder_around_all_and_other_words_for_splits_change_nothing(tmp_path: Path) -> None:
    files = {f"data/set/{name.replace('validation', 'Val')}": content for name, content in tree().items()}

    assert imported(as_tar(tmp_path / "mine.tar", files)).sha256 == expected().sha256


def test_what_file_managers_leave_behind_is_left_aside_and_listed(tmp_path: Path) -> None:
    files = tree() | {"__MACOSX/train/cat/._0.png": b"x", ".git/x/y": b"x", "README.md": b"hello"}

    manifest = imported(as_zip(tmp_path / "mine.zip", files))

    assert manifest.sha256 == expected().sha256
    (note,) = manifest.warnings
    assert note.code == "ignored_files"
    assert note.count == 3
    assert any(entry.startswith("README.md") for entry in note.entries)


def test_names_are_composed(tmp_path: Path) -> None:
    files = {name.replace("cat", unicodedata.normalize("NFD", "élan")): content for name, content in tree().items()}

    manifest = imported(as_zip(tmp_path / "mine.zip", files))

    assert manifest.classes == ("dog", unicodedata.normalize("NFC", "élan"))


def test_images_of_a_class_may_lie_deeper(tmp_path: Path) -> None:
    files = {name.replace("/0.png", "/a/b/0.png"): content for name, content in tree().items()}

    assert imported(as_zip(tmp_path / "mine.zip", files)).splits.train.per_class == (3, 3)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    files = {name.replace("cat/", "train/"): content for name, content in plain().items()}

    assert imported(as_zip(tmp_path / "mine.zip", files), HALVES).classes == ("dog", "train")


def test_what_cannot_be_read_is_refused_with_the_list(tmp_path: Path) -> None:
    files = tree() | {"train/cat/notes.txt": b"hello", "train/dog/cut.png": png(1)[:-30], "train/dog/none.png": b""}

    error = refusal(as_zip(tmp_path / "mine.zip", files))

    assert codes(error) == {
        "train/cat/notes.txt": "not_an_image",
        "train/dog/cut.png": "damaged",
        "train/dog/none.png": "empty_file",
    }


def test_what_cannot_be_read_is_left_out_where_asked_and_the_list_kept(tmp_path: Path) -> None:
    files = tree() | {"train/cat/notes.txt": b"hello", "train/dog/cut.png": png(1)[:-30]}

    manifest = imported(as_zip(tmp_path / "mine.zip", files), ImportOptions(skip_unreadable=True))

    assert manifest.sha256 == expected().sha256
    (note,) = manifest.warnings
    assert (note.code, note.count) == ("unreadable", 2)
    assert note.entries[0].startswith("train/cat/notes.txt: ")


def test_the_list_is_bounded_and_the_count_whole(tmp_path: Path) -> None:
    files = tree() | {f"train/cat/{number}.txt": b"x" for number in range(7)}

    error = refusal(as_zip(tmp_path / "mine.zip", files), limits=replace(LIMITS, findings=3))

    assert (len(error.findings), error.count) == (3, 7)
    assert str(error).endswith("… and 4 more.")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"train/cat/x.png": encoded(pixels(1, height=9))}, "mixed_sizes"),
        ({"train/cat/x.png": encoded(pixels(1, channels=1))}, "mixed_channels"),
        ({"cow.png": png(1)}, "no_class"),
        ({"train/cow.png": png(1)}, "no_class"),
        ({"other/cow/1.png": png(1)}, "no_class"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: dict[str, bytes], code: str) -> None:
    error = refusal(as_zip(tmp_path / "mine.zip", tree() | change))

    assert codes(error) == {next(iter(change)): code}


def test_a_class_without_images_is_refused(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "mine", tree())
    (folder / "train" / "cow").mkdir()

    assert codes(refusal(folder)) == {"cow": "empty_class"}


def test_a_class_that_is_missing_in_a_split_is_noted(tmp_path: Path) -> None:
    files = {name: content for name, content in tree().items() if not name.startswith("validation/dog")}

    manifest = imported(as_zip(tmp_path / "mine.zip", files))

    assert [(note.code, note.entries[0].split(":")[0]) for note in manifest.warnings] == [("class_missing", "dog")]


def test_a_class_that_only_validates_is_refused(tmp_path: Path) -> None:
    error = refusal(as_zip(tmp_path / "mine.zip", tree() | {"validation/cow/1.png": png(1)}))

    assert codes(error) == {"cow": "empty_class"}


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({}, "one_class"),
        ({"cat/1.png": png(1)}, "one_class"),
        ({"cat/1.png": png(1), "cat/2.png": png(2)}, "one_class"),
        ({"cat/1.png": png(1), "dog/2.png": png(2)}, "class_too_small"),
        ({"1.png": png(1)}, "no_class"),
    ],
)
def test_too_little_is_refused(tmp_path: Path, files: dict[str, bytes], code: str) -> None:
    (tmp_path / "mine").mkdir()

    error = refusal(as_folder(tmp_path / "mine", files), HALVES)

    assert error.findings[0].code == code


def test_without_splits_one_must_be_asked_for(tmp_path: Path) -> None:
    error = refusal(as_zip(tmp_path / "mine.zip", plain()))

    assert codes(error) == {"mine.zip": "no_split"}


def test_a_split_is_not_drawn_beside_one_that_is_there(tmp_path: Path) -> None:
    assert codes(refusal(as_zip(tmp_path / "mine.zip", tree()), HALVES)) == {"mine.zip": "split_twice"}


def test_the_draw_depends_on_the_seed_and_not_on_the_container(tmp_path: Path) -> None:
    other = HALVES.model_copy(update={"split": HALVES.split.model_copy(update={"seed": 1})})

    first = imported(as_zip(tmp_path / "a.zip", plain()), HALVES)
    around = {f"around/{name}": content for name, content in reversed(plain().items())}
    second = imported(as_tar(tmp_path / "b.tar", around), HALVES)
    third = imported(as_zip(tmp_path / "c.zip", plain()), other)

    assert first.sha256 == second.sha256 != third.sha256
    assert first.splits.validation.per_class == (2, 2)


def test_an_import_that_its_watcher_ends_leaves_nothing(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "mine.zip", tree())

    def stop(progress: Progress) -> None:
        if progress.stage == "packing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_data(path, tmp_path / "pack", report=stop)

    assert list(tmp_path.iterdir()) == [path]


def test_an_import_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[Progress] = []

    import_data(as_zip(tmp_path / "mine.zip", tree()), tmp_path / "pack", report=told.append)

    assert Progress("reading", 10, 10) in told
    assert told[-1] == Progress("packing", 10, 10)


def test_a_folder_that_exists_is_not_written_into(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="exists already"):
        import_data(as_zip(tmp_path / "mine.zip", tree()), tmp_path)


def test_a_pack_within_its_own_source_is_refused(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "mine", tree())

    with pytest.raises(DataInvalid, match="lies within"):
        import_data(folder, folder / "pack")
    assert not (folder / "pack").exists()


@pytest.mark.parametrize(
    ("file", "name"), [("a.zip", "a"), ("a.tar.gz", "a"), ("v1.2.tgz", "v1.2"), ("a.b", "a.b"), (".data.zip", ".data")]
)
def test_a_data_set_is_called_as_its_file(tmp_path: Path, file: str, name: str) -> None:
    assert imported(as_zip(tmp_path / file, tree())).name == name


@pytest.mark.parametrize(
    ("names", "code"), [(("a", "b"), "classes_named"), (("a", "b", "c"), "classes_named"), ((), "wrong_class_count")]
)
def test_classes_that_have_names_are_not_named_again(tmp_path: Path, names: tuple[str, ...], code: str) -> None:
    files = tree()
    if not names:
        names = ("a", "b", "c")
        files = {name.replace("cat", "0").replace("dog", "1"): content for name, content in tree().items()}

    error = refusal(as_zip(tmp_path / "mine.zip", files), ImportOptions(classes=names))

    assert codes(error) == {"mine.zip": code}


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (replace(LIMITS, entries=5), "too_many_entries"),
        (replace(LIMITS, unpacked_bytes=200), "too_large"),
        (replace(LIMITS, classes=1), "too_many_classes"),
        (replace(LIMITS, images=5), "too_many_images"),
        (replace(LIMITS, pack_bytes=100), "too_many_images"),
        (replace(LIMITS, side=4), "side_too_long"),
        (replace(LIMITS, image_pixels=19), "image_too_large"),
        (replace(LIMITS, entry_bytes=50), "file_too_large"),
        (replace(LIMITS, depth=1), "too_deep"),
        (replace(LIMITS, name_characters=5), "name_too_long"),
        (replace(LIMITS, class_name_characters=2), "name_too_long"),
        (replace(LIMITS, seconds=0), "too_slow"),
    ],
)
@pytest.mark.parametrize("container", ["folder", "zip", "tar.gz"])
def test_each_limit_is_kept(tmp_path: Path, container: str, limits: Limits, code: str) -> None:
    path = CONTAINERS[container](tmp_path / f"mine.{container}", tree())

    assert refusal(path, limits=limits).findings[0].code == code


def test_the_same_import_gives_the_same_bytes(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "mine.zip", tree())

    import_data(path, tmp_path / "a")
    import_data(path, tmp_path / "b")

    assert {item.name: item.read_bytes() for item in (tmp_path / "a").iterdir()} == {
        item.name: item.read_bytes() for item in (tmp_path / "b").iterdir()
    }
