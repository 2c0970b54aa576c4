"""`python -m trainer.datasets`, and `python -m trainer --data` with what it takes."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.specs import document
from tests.trainer.datasets.files import as_zip, plain, tree
from trainer.datasets.__main__ import main
from trainer.datasets.pack import open_pack, read_manifest


def test_it_packs_and_tells_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = as_zip(tmp_path / "mine.zip", plain() | {"README.md": b"x"})

    code = main(
        [str(path), "--out", str(tmp_path / "pack"), "--validation", "0.25", "--size", "3x2", "--channels", "1"]
    )

    assert code == 0
    found = open_pack(tmp_path / "pack")
    said = capsys.readouterr().out
    assert found.train.images.shape == (6, 1, 3, 2)
    assert found.sha256 in said
    assert "2 classes: cat, dog" in said
    assert "validation: 2 images" in said
    assert "README.md" in said


def test_what_is_refused_is_told_entry_by_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = as_zip(tmp_path / "mine.zip", tree() | {"train/cat/notes.txt": b"x"})

    assert main([str(path), "--out", str(tmp_path / "pack")]) == 2
    assert "train/cat/notes.txt: It is no image" in capsys.readouterr().err
    assert main([str(path), "--out", str(tmp_path / "pack"), "--skip-unreadable"]) == 0
    assert read_manifest(tmp_path / "pack").warnings[0].code == "unreadable"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--size", "0"], "--size"),
        (["--size", "big"], "--size is HEIGHTxWIDTH"),
        (["--validation", "2"], "--validation"),
        (["--test", "0.5"], "--validation"),
    ],
)
def test_an_option_that_cannot_be_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    path = as_zip(tmp_path / "mine.zip", plain())

    assert main([str(path), "--out", str(tmp_path / "pack"), *options]) == 2
    assert said in capsys.readouterr().err


def test_a_missing_path_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "pack")]) == 2
    assert "nowhere: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("packed", [True, False])
def test_the_trainer_takes_a_pack_or_what_can_be_packed(tmp_path: Path, packed: bool) -> None:
    path = as_zip(tmp_path / "mine.zip", tree())
    if packed:
        assert main([str(path), "--out", str(tmp_path / "pack")]) == 0
        path = tmp_path / "pack"
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(document(batch_size=2, augmentation=[])))

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "trainer",
            str(spec),
            "--data",
            str(path),
            "--out",
            str(tmp_path / "out"),
            "--threads",
            "1",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "result.json").exists()
