"""What the process of an import does and tells, without a service."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import packs
from tests.trainer.datasets.test_downloads import Mirror, known, served
from tests.trainer.datasets.test_mnist import quartet
from trainer.datasets import downloads
from trainer.datasets.limits import Limits
from trainer.datasets.manifest import Manifest
from trainer.datasets.pack import open_pack
from trainer.errors import DataInvalid, DataRefused
from trainer.events import Advanced, DatasetPacked, Event, PackFileWritten, PhaseStarted, TaskFinished, TaskStopped
from worker import intake
from worker.order import ImportTask


def task(source: Path | None, mirror: str | None = None, **changes: Any) -> ImportTask:
    wanted = {"kind": "upload", "upload": "up_1"} if source else {"kind": "named", "name": "mnist"}
    spec = json.dumps({"name": "pets", "source": wanted} | changes)
    return ImportTask(spec, source, mirror, Limits(), 2**30, 60)


def run(task: ImportTask, scratch: Path, stop: Callable[[], bool] = lambda: False) -> list[Event]:
    return list(intake.run(task, scratch, stop))


def zipped(folder: Path, **changes: int) -> Path:
    path = folder / "pets.zip"
    path.write_bytes(packs.zipped(packs.images(**changes)))
    return path


def test_an_import_tells_how_far_it_is_then_its_files_then_what_is_known(tmp_path: Path) -> None:
    events = run(task(zipped(tmp_path)), tmp_path)

    assert isinstance(events[0], PhaseStarted)
    done = [event.done for event in events if isinstance(event, Advanced)]
    assert done == sorted(done)
    assert done[-1] == intake.STEPS
    assert [event.phase for event in events if isinstance(event, PhaseStarted)] == ["loading_data", "saving"]
    files = {event.name: event.size for event in events if isinstance(event, PackFileWritten)}
    assert files == {path.name: path.stat().st_size for path in (tmp_path / intake.PACK).iterdir()}
    assert isinstance(events[-1], TaskFinished)
    packed = events[-2]
    assert isinstance(packed, DatasetPacked)
    manifest = Manifest.model_validate(packed.manifest, strict=False)
    assert manifest.name == "pets"
    assert manifest.sha256 == open_pack(tmp_path / intake.PACK).sha256


def test_an_import_is_stopped_between_two_images_and_leaves_nothing(tmp_path: Path) -> None:
    source, scratch = zipped(tmp_path), tmp_path / "scratch"
    scratch.mkdir()

    events = run(task(source), scratch, lambda: True)

    assert isinstance(events[-1], TaskStopped)
    assert list(scratch.iterdir()) == []


def test_what_is_refused_is_raised_entry_by_entry(tmp_path: Path) -> None:
    path = tmp_path / "pets.zip"
    path.write_bytes(packs.zipped(packs.images() | {"train/cat/000.png": b"none"}))

    with pytest.raises(DataRefused) as refused:
        run(task(path), tmp_path)

    assert [finding.entry for finding in refused.value.findings] == ["train/cat/000.png"]


def test_a_data_set_by_name_is_fetched_from_the_mirror_and_called_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = quartet()
    monkeypatch.setitem(downloads.KNOWN, "mnist", known(**files))
    with served(Mirror({f"mnist/{name}": content for name, content in files.items()})) as mirror:
        events = run(task(None, mirror.url), tmp_path)

    packed = events[-2]
    assert isinstance(packed, DatasetPacked)
    assert packed.manifest["name"] == "pets"


def test_a_data_set_that_no_mirror_has_says_what_each_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(downloads.KNOWN, "mnist", known(**quartet()))
    with served(Mirror({})) as mirror, pytest.raises(DataInvalid, match="cannot be had"):
        run(task(None, mirror.url), tmp_path)
