"""What may happen while people's data comes in."""

import os
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from app.api.schemas import DatasetDetailView, UploadView
from app.store.engine import read
from app.store.models import Upload
from app.store.states import Status
from tests import packs
from tests.faults.judge import judge_imports
from tests.faults.system import SECONDS, System
from tests.servers import await_true

MIB = 1024**2


def zipped(folder: Path, *, images: int = 10, ballast: int = 0) -> Path:
    """A zip with so many images of each class, and a document of so many random bytes, which is left aside."""
    one = packs.images(per_class=1)
    files = {
        f"{split}/{name}/{number:05}.png": one[f"{split}/{name}/000.png"]
        for split in ("train", "validation")
        for name in packs.CLASSES
        for number in range(images if split == "train" else 1)
    }
    path = folder / "pets.zip"
    path.write_bytes(packs.zipped(files | {"README.md": os.urandom(ballast) or b"x"}))
    return path


def made(system: System, upload: UploadView) -> DatasetDetailView:
    return system.client.make_dataset({"kind": "upload", "upload": upload.id}, "pets")


def job_of(dataset: DatasetDetailView) -> str:
    assert dataset.links.job is not None
    return dataset.links.job.rpartition("/")[2]


def uploads(system: System) -> list[str]:
    with read(system.engine) as session:
        return list(session.scalars(select(Upload.id)))


def test_the_worker_of_an_import_is_killed_in_the_middle(system: System, tmp_path: Path) -> None:
    """Another begins it anew, and what it makes is what it would have been."""
    upload = system.client.upload(zipped(tmp_path, images=4000))
    job = job_of(made(system, upload))
    await_true(lambda: system.job(job).step > 320, SECONDS)

    system.kill(system.worker)
    system.start_worker()
    system.await_final(job)

    assert [attempt.outcome for attempt in system.attempts(job)] == ["lost", "succeeded"]
    found = system.client.dataset("pets")
    assert (found.status, found.train_count) == ("ready", 8000)
    assert uploads(system) == []
    judge_imports(system, {job: Status.SUCCEEDED})


@pytest.mark.faults
def test_the_process_of_an_import_is_killed_and_the_worker_goes_on(system: System, tmp_path: Path) -> None:
    upload = system.client.upload(zipped(tmp_path, images=4000))
    job = job_of(made(system, upload))
    await_true(lambda: system.job(job).step > 320, SECONDS)
    worker = system.worker.pid

    os.kill(system.await_child(), 9)
    system.await_final(job)

    assert [attempt.outcome for attempt in system.attempts(job)] == ["crashed", "succeeded"]
    assert system.worker.pid == worker
    judge_imports(system, {job: Status.SUCCEEDED})


@pytest.mark.faults
def test_an_import_is_cancelled_in_the_middle(system: System, tmp_path: Path) -> None:
    """Nothing of it stays but the upload, for another try."""
    upload = system.client.upload(zipped(tmp_path, images=4000))
    job = job_of(made(system, upload))
    await_true(lambda: system.job(job).step > 320, SECONDS)

    system.client.cancel(job)
    system.await_final(job)

    assert uploads(system) == [upload.id]
    judge_imports(system, {job: Status.CANCELLED})


def test_the_api_is_killed_during_an_upload(system: System, tmp_path: Path) -> None:
    """The client waits for it and sends what is missing; what had arrived is not sent again."""
    path = zipped(tmp_path, ballast=17 * MIB)
    told: list[tuple[int, int]] = []
    begun = threading.Event()
    arrived: list[UploadView] = []

    def tell(received: int, size: int) -> None:
        told.append((received, size))
        if received and not begun.is_set():
            assert system.api is not None
            system.api.kill()
            begun.set()

    client = threading.Thread(target=lambda: arrived.append(system.client.upload(path, report=tell)))
    client.start()
    assert begun.wait(SECONDS)
    system.start_api()
    client.join()

    assert [received for received, _ in told] == [0, 8 * MIB, 16 * MIB, path.stat().st_size]
    (upload,) = arrived
    assert upload.missing == []
    job = job_of(made(system, upload))
    system.await_final(job)
    assert system.client.dataset("pets").train_count == 20
    judge_imports(system, {job: Status.SUCCEEDED})


@pytest.mark.faults
def test_an_upload_that_was_cut_off_goes_on_with_another_client(system: System, tmp_path: Path) -> None:
    path = zipped(tmp_path, ballast=17 * MIB)

    class Cut(Exception):
        pass

    def cut(received: int, size: int) -> None:
        if received:
            raise Cut

    with pytest.raises(Cut):
        system.client.upload(path, report=cut)
    told: list[int] = []
    upload = system.client.upload(path, report=lambda received, _: told.append(received))

    assert told == [8 * MIB, 16 * MIB, path.stat().st_size]
    assert uploads(system) == [upload.id]
