"""`python -m trainer`, as a program."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import torch
import yaml

from tests.specs import document, spec
from tests.trainer.test_data import idx, write_folder
from trainer import data, snapshot
from trainer.device import computes_in
from trainer.events import SnapshotTaken
from trainer.train import train

COMMAND = [sys.executable, "-m", "trainer"]


def written(folder: Path, **changes: object) -> Path:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(document(**changes)))
    return path


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, "--threads", "1", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_it_trains_and_writes_everything(tmp_path: Path) -> None:
    out = tmp_path / "out"

    done = run(written(tmp_path), "--out", out)

    assert done.returncode == 0, done.stderr
    assert "epoch 4/4" in done.stdout
    assert "ensemble" in done.stdout
    assert sorted(path.name for path in out.iterdir()) == [
        "metrics.csv",
        "result.json",
        "snapshot-1.safetensors",
        "snapshot-2.safetensors",
    ]
    result = json.loads((out / "result.json").read_text())
    assert len(result["ensemble"]["members"]) == 2
    with (out / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]


def test_ctrl_c_leaves_a_checkpoint_and_resume_ends_with_the_same_files(tmp_path: Path) -> None:
    spec = written(tmp_path, epochs=40)
    run(spec, "--out", tmp_path / "whole")
    command = [*COMMAND, "--threads", "1", str(spec), "--out", str(tmp_path / "cut")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if line.startswith("epoch 3/"):
                process.send_signal(signal.SIGINT)
    assert process.wait(30) == 4

    done = run(spec, "--out", tmp_path / "cut", "--resume")

    assert done.returncode == 0, done.stderr
    for name in ("snapshot-1.safetensors", "snapshot-2.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_command_gives_the_same_files_as_the_library_with_as_many_threads(tmp_path: Path) -> None:
    command = [*COMMAND, "--threads", str(torch.get_num_threads()), str(written(tmp_path)), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)

    chosen = spec()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for event in train(chosen, data.load(chosen.dataset), device=device):
        if isinstance(event, SnapshotTaken):
            snapshot.write(tmp_path / "own", event.weights, event.provenance)
            assert (tmp_path / "own").read_bytes() == (tmp_path / f"snapshot-{event.number}.safetensors").read_bytes()


@pytest.mark.parametrize("limit", ["-1", "many"])
def test_a_limit_that_is_no_number_of_bytes_is_refused(limit: str, tmp_path: Path) -> None:
    done = run(written(tmp_path), f"--resident-bytes={limit}")

    assert done.returncode == 2
    assert f"--resident-bytes: '{limit}' is no number of bytes." in done.stderr


def test_what_this_machine_cannot_do_is_told_with_a_remedy(tmp_path: Path) -> None:
    environment = {**os.environ, "CXX": "no-such-compiler"}
    command = [*COMMAND, str(written(tmp_path, execution={"compile": True})), "--out", str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    assert done.returncode == 3
    assert done.stderr.splitlines()[-2:] == [
        "execution.compile needs a C++ compiler, and there is none here.",
        "Install g++ where the training runs, or set execution.compile to false.",
    ]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_precision_that_this_machine_lacks_is_a_mistake_with_its_line(
    precision: Literal["bfloat16", "float16"], tmp_path: Path
) -> None:
    path = written(tmp_path, device="cpu", epochs=2, execution={"precision": precision})

    done = run(path, "--out", tmp_path / "out")

    if computes_in(torch.device("cpu"), precision):
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2
        assert done.stderr.startswith(f"{path}:")
        assert f": /execution/precision: No CPU here has fast arithmetic in {precision}" in done.stderr
        assert not (tmp_path / "out").exists()


def test_mistakes_are_told_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("name: x\ndataset: mnist5k\nepochs: 0\nnetwork: {kind: mlp}\n")

    done = run(path)

    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert any(line.startswith(f"{path}:3: /epochs: This must be at least 1; it is 0. Passes") for line in lines)
    assert any(line.startswith(f"{path}:1: /schedule: `schedule` is missing.") for line in lines)


def test_mistakes_against_the_data_are_told_with_file_and_line_and_nothing_is_written(tmp_path: Path) -> None:
    done = run(written(tmp_path, batch_size=5000), "--out", tmp_path / "out")

    assert done.returncode == 2
    assert "/batch_size" in done.stderr
    assert not (tmp_path / "out").exists()


def test_data_of_ones_own_are_read(tmp_path: Path) -> None:
    import numpy as np

    draws = np.random.default_rng(1)
    images, labels = idx(draws.integers(0, 255, (20, 8, 8))), idx(np.arange(20) % 3)
    folder = write_folder(
        tmp_path / "mine", train_images=images, train_labels=labels, t10k_images=images, t10k_labels=labels
    )

    done = run(written(tmp_path, batch_size=5), "--data", folder, "--out", tmp_path / "out")

    assert done.returncode == 0, done.stderr
    _, provenance = snapshot.load(tmp_path / "out" / "snapshot-2.safetensors")
    assert provenance["classes"] == ["0", "1", "2"]


def test_a_missing_spec_is_named(tmp_path: Path) -> None:
    done = run(tmp_path / "missing.yaml")

    assert done.returncode == 2
    assert "missing.yaml: No such file" in done.stderr


def test_missing_data_are_named(tmp_path: Path) -> None:
    done = run(written(tmp_path), "--data", tmp_path / "nowhere")

    assert done.returncode == 2
    assert "nowhere: No such file" in done.stderr


def test_nothing_to_resume_from_is_said(tmp_path: Path) -> None:
    done = run(written(tmp_path), "--resume", "--out", tmp_path / "out")

    assert done.returncode == 3
    assert "The checkpoint cannot be read" in done.stderr


def test_a_diverged_training_fails_with_a_hint(tmp_path: Path) -> None:
    spec = written(
        tmp_path,
        schedule={"kind": "constant", "learning_rate": 1000},
        optimizer={"kind": "sgd", "momentum": {"form": "classical", "m": 0.99}},
        ensemble={"kind": "none"},
    )

    done = run(spec, "--out", tmp_path / "out")

    assert done.returncode == 3
    assert "The loss became" in done.stderr
    assert "Lower schedule.learning_rate" in done.stderr
