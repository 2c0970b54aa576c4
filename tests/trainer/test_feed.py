"""Images that are streamed from the host train as those that lie on the device, to the bit."""

import os
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.specs import dataset
from tests.trainer import pair
from tests.trainer.test_divergence import EXPLODING
from tests.trainer.test_replicas import CONVNET
from tests.trainer.test_train import COLOURFUL, GRID, MIXED, NORMALIZED, of, results, run, saved, tiny
from trainer import device, mapped
from trainer.data import DataSet, Split
from trainer.errors import DataLost, Diverged
from trainer.events import CheckpointReady, EpochFinished, TrainingStarted, TrainingStopped
from trainer.feed import Resident, Streamed
from trainer.memory import Memory
from trainer.replicas import Replicas
from trainer.spec import TrainingSpec
from trainer.train import Resume, train

CPU = torch.device("cpu")
TINY, EVEN = dataset(train=37), dataset(train=40)
COLOUR = dataset(shape=(3, 8, 8))


def mapped_split(split: Split, folder: Path, name: str) -> Split:
    """The same, read from files as they are needed."""
    for array, kind in ((split.images, "images"), (split.labels, "labels")):
        np.save(folder / f"{name}-{kind}.npy", array)
    images, labels = (np.load(folder / f"{name}-{kind}.npy", mmap_mode="r") for kind in ("images", "labels"))
    return Split(images, labels)


def mapped_set(data: DataSet, folder: Path) -> DataSet:
    folder.mkdir(exist_ok=True)
    splits = {name: mapped_split(getattr(data, name), folder, name) for name in ("train", "validation")}
    return replace(data, **splits)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("feed")]


# The batches.


@pytest.fixture(params=["in memory", "in files", "in strides", "in a view of files"])
def split(request: pytest.FixtureRequest, tmp_path: Path) -> Split:
    whole = dataset(train=53, shape=(2, 3, 5)).train
    match request.param:
        case "in files":
            return mapped_split(whole, tmp_path, "train")
        case "in a view of files":
            longer = Split(np.concatenate([whole.images[:9], whole.images]), np.tile(whole.labels, 2))
            found = mapped_split(longer, tmp_path, "train")
            return Split(found.images[9:], found.labels[53:])
        case "in strides":
            return Split(np.asfortranarray(whole.images), np.repeat(whole.labels, 2)[::2])
        case _:
            return whole


def test_streamed_batches_are_the_resident_ones(split: Split) -> None:
    resident = Resident(split, CPU)
    order = torch.randperm(53, generator=torch.Generator().manual_seed(0))[5:]
    with closing(Streamed(split, CPU)) as streamed:
        assert len(streamed) == len(resident) == 53
        for size in (1, 7, 48, 100):
            pairs = list(zip(streamed.batches(order, size), resident.batches(order, size), strict=True))
            assert [len(labels) for (_, labels), _ in pairs] == [len(labels) for _, (_, labels) in pairs]
            for found, expected in pairs:
                assert all(map(torch.equal, found, expected))
                assert found[0].stride() == expected[0].stride()
                assert [one.dtype for one in found] == [torch.uint8, torch.int64]
        for found, expected in zip(streamed.pieces(10), resident.pieces(10), strict=True):
            assert torch.equal(found, expected)
        for count in (1, 20, 60):
            assert all(map(torch.equal, streamed.first(count), resident.first(count)))


def test_batches_that_are_kept_stay_as_they_were(tmp_path: Path) -> None:
    with closing(Streamed(mapped_split(TINY.train, tmp_path, "train"), CPU)) as streamed:
        kept = torch.cat([images for images, _ in streamed.batches(torch.arange(37), 5)])

    assert torch.equal(kept, torch.tensor(TINY.train.images))


def test_the_next_batches_are_gathered_meanwhile_and_no_more(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    class Watched(Streamed):
        def _send(self, rows: Any) -> Any:
            asked.append(rows.tolist())
            return super()._send(rows)

    with closing(Watched(TINY.train, CPU)) as streamed:
        batches = streamed.batches(torch.arange(37), 5)
        next(batches)
        streamed.first(1)
        # `first` came behind all that was under way.
        assert asked == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14], [0]]


# Whole trainings.


def streaming(chosen: TrainingSpec, data: DataSet, resume: Resume | None = None, **options: Any) -> list[Any]:
    found = run(chosen, data=data, resume=resume, resident_bytes=0, **options)
    assert of(TrainingStarted, found)[0].streamed == ("train", "validation")
    return found


@pytest.mark.parametrize("changes", GRID, ids=str)
def test_a_streamed_training_is_the_resident_one_to_the_bit(changes: dict[str, Any], tmp_path: Path) -> None:
    resident = run(tiny(**changes), data=TINY)

    streamed = streaming(tiny(**changes), mapped_set(TINY, tmp_path))

    assert of(TrainingStarted, resident)[0].streamed == ()
    assert results(streamed) == results(resident)
    assert threads() == []


def test_colours_are_learnt_from_a_streamed_split(tmp_path: Path) -> None:
    chosen = tiny(network={"kind": "convnet", "channels": [3], "batch_norm": {}}, **COLOURFUL)

    assert results(streaming(chosen, mapped_set(COLOUR, tmp_path))) == results(run(chosen, data=COLOUR))


def test_either_split_may_be_streamed_alone() -> None:
    chosen, sizes = tiny(), (TINY.train.images.nbytes, TINY.validation.images.nbytes)
    resident = run(chosen, data=TINY)

    for room, expected in (
        (sum(sizes), ()),
        (sum(sizes) - 1, ("validation",)),
        (sizes[0] - 1, ("train",)),
        (sizes[1] - 1, ("train", "validation")),
    ):
        found = run(chosen, data=TINY, resident_bytes=room)

        assert of(TrainingStarted, found)[0].streamed == expected
        assert results(found) == results(resident)


@pytest.mark.parametrize("stop_after", [1, 4, 5])
@pytest.mark.parametrize("changes", [NORMALIZED, {"ensemble": {"kind": "ema", "decay": 0.7}, **NORMALIZED, **MIXED}])
def test_a_streamed_training_goes_on_where_it_was_stopped(
    changes: dict[str, Any], stop_after: int, tmp_path: Path
) -> None:
    chosen, data = tiny(**changes), mapped_set(TINY, tmp_path)
    asked = iter(range(1000))
    first = streaming(chosen, data, stop=lambda: next(asked) >= stop_after)
    assert isinstance(first[-1], TrainingStopped)

    # What was streamed may go on resident.
    going_on = saved(of(CheckpointReady, first)[-1], first, tmp_path)
    for limit in (0, None):
        rest = run(chosen, data=data, resume=going_on, resident_bytes=limit)

        assert results([*first, *rest]) == results(run(chosen, data=TINY))


def in_two(replicas: Replicas, changes: dict[str, Any], folder: Path, limit: int | None) -> list[Any]:
    data = mapped_set(TINY, folder / str(replicas.rank))
    return run(tiny(**changes), data=data, replicas=replicas, resident_bytes=limit)


def test_two_processes_stream_as_they_would_not(tmp_path: Path) -> None:
    changes = {"devices": 2, "network": CONVNET, "ensemble": {"kind": "swa", "start": 2}, **MIXED}
    with pair.started(tmp_path) as two:
        resident, _ = two.run(in_two, changes, tmp_path, None)
        streamed, second = two.run(in_two, changes, tmp_path, 0)

    assert results(streamed) == results(second) == results(resident)
    assert of(TrainingStarted, streamed)[0].streamed == ("train", "validation")


# What ends, and what goes wrong.


def test_the_thread_ends_when_training_is_left(tmp_path: Path) -> None:
    events = train(tiny(), mapped_set(TINY, tmp_path), device=CPU, resident_bytes=0)
    assert any(isinstance(event, EpochFinished) for event in events)
    assert threads() != []

    events.close()  # type: ignore[attr-defined]

    assert threads() == []


def test_the_thread_ends_when_training_fails(tmp_path: Path) -> None:
    with pytest.raises(Diverged):
        streaming(tiny(**EXPLODING), mapped_set(EVEN, tmp_path))

    assert threads() == []


def test_a_divergence_is_found_in_the_layer_where_a_resident_training_finds_it(tmp_path: Path) -> None:
    with pytest.raises(Diverged) as resident:
        run(tiny(**EXPLODING), data=EVEN)
    with pytest.raises(Diverged) as streamed:
        streaming(tiny(**EXPLODING), mapped_set(EVEN, tmp_path))

    assert str(streamed.value) == str(resident.value)


@pytest.mark.parametrize("name", ["train-images.npy", "train-labels.npy", "validation-images.npy"])
def test_a_file_that_becomes_shorter_is_told_of(name: str, tmp_path: Path) -> None:
    data = mapped_set(TINY, tmp_path)
    size = os.path.getsize(tmp_path / name)

    events = train(tiny(), data, device=CPU, resident_bytes=0)
    assert any(isinstance(event, EpochFinished) for event in events)

    os.truncate(tmp_path / name, 100)

    with pytest.raises(DataLost, match=f"{name} has become shorter: of {size} bytes that were there, 100 are left"):
        list(events)

    assert threads() == []


@pytest.mark.parametrize("limit", [0, None])
def test_a_file_that_is_too_short_at_the_start_is_told_of(limit: int | None, tmp_path: Path) -> None:
    data = mapped_set(TINY, tmp_path)
    _ = data.sha256
    os.truncate(tmp_path / "train-images.npy", 200)

    with pytest.raises(DataLost, match=r"train-images.npy has become shorter"):
        run(tiny(), data=data, resident_bytes=limit)


def test_a_file_that_another_took_the_name_of_is_still_read(tmp_path: Path) -> None:
    data = mapped_set(TINY, tmp_path)
    (tmp_path / "train-images.npy").unlink()
    (tmp_path / "train-images.npy").write_bytes(b"another")

    assert results(streaming(tiny(), data)) == results(run(tiny(), data=TINY))


def test_only_arrays_from_files_have_files(tmp_path: Path) -> None:
    found = mapped_split(TINY.train, tmp_path, "train")

    assert mapped.file_of(TINY.train.images) is None
    assert mapped.file_of(found.images) is not None
    assert mapped.file_of(np.asarray(found.images)[3:, 0]) is not None


# What fits.


def test_a_quarter_of_the_hosts_memory_may_hold_images_for_all_processes_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, training = tmp_path / "memory.max", Memory(1, 1, 1, 1)
    monkeypatch.setattr(device, "CONTROL_GROUP_LIMIT", limit)
    physical = device.host_bytes()
    limit.write_text("max\n")
    assert device.host_bytes() == physical > 0

    limit.write_text("800\n")

    assert device.room(CPU, training, 1) == 200
    assert device.room(CPU, training, 2) == 100


LARGE = """
import resource, sys
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # The first optimizer does so, and its memory is not what is counted here.

from tests.specs import spec
from trainer.data import DataSet, Split
from trainer.train import train

def split(name, count):
    images = np.load(Path(sys.argv[1]) / f"{name}.npy", mmap_mode="r")
    return Split(images, np.arange(count) % 4)

torch.set_num_threads(1)
data = DataSet("large", split("train", 4000), split("validation", 100), ("a", "b", "c", "d"))
chosen = spec(
    network={"kind": "mlp", "hidden": []},
    preprocessing={"centre": "per_pixel"},
    augmentation=[{"kind": "cutout", "size": 8, "fill": "mean"}],
    batch_size=50,
    epochs=1,
    schedule={"kind": "constant", "learning_rate": 0.01},
    ensemble={"kind": "ema", "decay": 0.5},
)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
used = int(status["VmData"].split()[0]) * 1024
# Memory of the process's own; what is mapped from files does not count.
resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[2]), -1))
events = train(chosen, data, device=torch.device("cpu"), resident_bytes=int(sys.argv[3]))
print([type(event).__name__ for event in events][-1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize(("limit", "ends"), [("0", True), (str(2**40), False)], ids=["streamed", "resident"])
def test_images_larger_than_the_memory_that_is_left_are_trained_on_where_they_are_streamed(
    limit: str, ends: bool, tmp_path: Path
) -> None:
    for name, count in (("train", 4000), ("validation", 100)):
        # A file with holes takes no room on the disk.
        np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.uint8, (count, 3, 128, 128)).flush()
    command = [sys.executable, "-c", LARGE, str(tmp_path), str(120 * 2**20), limit]

    done = subprocess.run(command, capture_output=True, text=True, timeout=100)

    assert (done.returncode == 0) == ends, done.stderr
    assert done.stdout == ("TrainingFinished\n" if ends else "")


@pytest.fixture
def gpu() -> torch.device:
    return device.choose("cuda")


@pytest.mark.gpu
def test_batches_streamed_to_a_gpu_are_the_resident_ones(gpu: torch.device, tmp_path: Path) -> None:
    data = mapped_split(dataset(train=5000, shape=(3, 32, 32)).train, tmp_path, "train")
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    expected = Resident(data, gpu).batches(order, 128)
    with closing(Streamed(data, gpu)) as streamed:
        for images, labels in streamed.batches(order, 128):
            wanted = next(expected)
            assert torch.equal(images, wanted[0])
            assert torch.equal(labels, wanted[1])


@pytest.mark.gpu
@pytest.mark.parametrize("changes", GRID, ids=str)
def test_on_a_gpu_a_streamed_training_is_the_resident_one_to_the_bit(
    changes: dict[str, Any], gpu: torch.device, tmp_path: Path
) -> None:
    data = mapped_set(TINY, tmp_path)
    resident, streamed = (
        list(train(tiny(**changes), data, device=gpu, report_seconds=1e9, resident_bytes=limit)) for limit in (None, 0)
    )

    assert of(TrainingStarted, streamed)[0].streamed == ("train", "validation")
    assert results(streamed) == results(resident)


@pytest.mark.gpu
def test_on_a_gpu_images_that_leave_no_room_for_the_training_are_streamed(gpu: torch.device) -> None:
    free, _ = torch.cuda.mem_get_info(gpu)

    assert device.room(gpu, Memory(0, 0, 0, 0), 1) <= free
    assert device.room(gpu, Memory(free, 0, 0, 0), 1) == 0
