"""Imports by real workers: from the parts in the database to a training on what was made."""

import json
from contextlib import closing
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import func, select

from app.store import datasets, imports, jobs, uploads
from app.store.engine import read, write
from app.store.models import Blob, DatasetFile, Job, Snapshot, Upload
from app.store.states import FailureClass, Status
from tests import packs
from tests.servers import await_true
from tests.shop import Shop
from tests.specs import spec
from tests.worker.conftest import Plant
from trainer.parsing import parse_as
from trainer.spec.importing import ImportSpec

PART = 4096


def upload(shop: Shop, content: bytes, name: str = "pets.zip", announced: str | None = None) -> str:
    """All parts of a file; the upload's id."""
    with write(shop.engine) as session:
        made, _ = uploads.begin(
            session,
            owner="default",
            name=name,
            size=len(content),
            sha256=announced or sha256(content).hexdigest(),
            part_bytes=PART,
            most_bytes=2**40,
        )
    for number, start in enumerate(range(0, len(content), PART), 1):
        uploads.put(shop.engine, made.id, number, BytesIO(content[start : start + PART]))
    return made.id


def submit(plant: Plant, name: str, upload_id: str, **changes: Any) -> str:
    """Queue an import; the job's id."""
    document = {"name": name, "source": {"kind": "upload", "upload": upload_id}} | changes
    spec = parse_as(ImportSpec, json.dumps(document))
    with write(plant.engine) as session:
        _, job = imports.make(session, spec, sees=None, max_attempts=3)
        assert job is not None
    plant.bell.ring("cpu")
    return job.id


def finished(plant: Plant, job_id: str) -> Job:
    await_true(lambda: plant.shop.job(job_id).status.is_final, 60)
    return plant.shop.job(job_id)


def train(plant: Plant) -> str:
    """Train on the data set; the job's id."""
    with write(plant.engine) as session:
        found = datasets.get(session, "pets")
        job, _ = jobs.submit(session, spec(dataset="pets", batch_size=10), found, steps_per_epoch=2, max_attempts=1)
    plant.bell.ring("auto")
    assert finished(plant, job.id).status is Status.SUCCEEDED
    return job.id


def snapshots(plant: Plant, job_id: str) -> list[Snapshot]:
    """What a training has taken."""
    with read(plant.engine) as session:
        query = select(Snapshot).where(Snapshot.job_id == job_id).order_by(Snapshot.number)
        found = list(session.scalars(query))
        session.expunge_all()
        return found


def left(plant: Plant) -> dict[str, int]:
    """What the database holds of files."""
    with read(plant.engine) as session:
        return {
            table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0
            for table in (Upload, DatasetFile, Blob)
        }


def scratch(plant: Plant) -> list[str]:
    """What lies in the worker's scratch folder."""
    return [str(path) for folder in (plant.folder / "scratch").iterdir() for path in folder.iterdir()]


def test_a_zip_becomes_a_data_set_that_jobs_train_on(plant: Plant) -> None:
    """The second finds its file on this machine damaged, and fetches it again."""
    job = finished(plant, submit(plant, "pets", upload(plant.shop, packs.zipped(packs.images()))))

    assert job.status is Status.SUCCEEDED, job.failure_message
    assert (job.step, job.steps_per_epoch) == (1000, 1000)
    with read(plant.engine) as session:
        found = datasets.get(session, "pets")
        facts, manifest = datasets.facts(found), datasets.manifest(found)
        assert manifest is not None
        assert (facts.shape, facts.classes, facts.train_count) == ((1, 8, 8), packs.CLASSES, 20)
        assert manifest.splits.train.per_class == (10, 10)
        assert found.size > 0
    assert left(plant)["uploads"] == 0
    first = snapshots(plant, train(plant))
    cached = plant.folder / "datasets" / facts.sha256 / "train-images.npy"
    whole = cached.read_bytes()
    cached.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    second = snapshots(plant, train(plant))

    assert first[0].provenance["dataset"] == {"name": "pets", "sha256": facts.sha256}
    assert [one.sha256 for one in second] == [one.sha256 for one in first]
    assert cached.read_bytes() == whole


def test_the_same_data_in_another_container_has_the_same_id(plant: Plant) -> None:
    for name, content in (("one", packs.zipped(packs.images())), ("two", packs.tarred(packs.images()))):
        job = finished(plant, submit(plant, name, upload(plant.shop, content, name)))
        assert job.status is Status.SUCCEEDED, job.failure_message

    with read(plant.engine) as session:
        one, two = datasets.get(session, "one"), datasets.get(session, "two")
        assert one.sha256 == two.sha256
        pixels = [
            {file.sha256 for file in datasets.files(session, item.id) if file.name.endswith(".npy")}
            for item in (one, two)
        ]
        assert pixels[0] == pixels[1]


def test_damaged_content_fails_with_the_names_of_entries_and_leaves_nothing(plant: Plant) -> None:
    files = packs.images() | {"train/cat/000.png": b"no image", "train/dog/003.png": b""}
    job = finished(plant, submit(plant, "pets", upload(plant.shop, packs.zipped(files))))

    assert (job.status, job.failure_class, job.failure_code) == (Status.FAILED, FailureClass.USER, "data_refused")
    assert job.failure_detail is not None
    entries = {finding["entry"] for finding in job.failure_detail["findings"]}
    assert entries == {"train/cat/000.png", "train/dog/003.png"}
    assert job.attempt == 1
    assert left(plant) == {"uploads": 0, "dataset_files": 0, "blobs": 0}
    await_true(lambda: scratch(plant) == [], 10)


def test_an_upload_that_is_not_what_was_announced_is_refused(plant: Plant) -> None:
    content = packs.zipped(packs.images())
    job = finished(plant, submit(plant, "pets", upload(plant.shop, content, announced="0" * 64)))

    assert (job.failure_class, job.failure_code) == (FailureClass.USER, "upload_damaged")
    assert left(plant)["blobs"] == 0


def test_an_import_that_takes_too_much_memory_ends_alone(database_url: str, tmp_path: Path) -> None:
    """A picture of 190 megabytes in a file of some kilobytes; its worker goes on with the next."""
    large = BytesIO()
    Image.new("RGB", (8000, 8000)).save(large, "PNG")
    with closing(Plant(tmp_path, database_url, import_memory_bytes=str(256 * 1024**2))) as plant:
        files = packs.images() | {"train/cat/large.png": large.getvalue()}
        job = finished(plant, submit(plant, "pets", upload(plant.shop, packs.zipped(files)), options={"size": [8, 8]}))

        assert (job.failure_class, job.failure_code, job.attempt) == (FailureClass.OUT_OF_MEMORY, "out_of_memory", 1)
        assert job.failure_hint is not None
        assert "worker more memory" in job.failure_hint
        assert left(plant)["dataset_files"] == 0
        await_true(lambda: scratch(plant) == [], 10)
        worker = plant.worker.pid
        job = finished(plant, submit(plant, "others", upload(plant.shop, packs.zipped(packs.images()))))
        assert (job.status, plant.worker.pid) == (Status.SUCCEEDED, worker)


def test_an_import_that_takes_too_long_is_refused(database_url: str, tmp_path: Path) -> None:
    with closing(Plant(tmp_path, database_url, import_seconds="0.0001")) as plant:
        job = finished(plant, submit(plant, "pets", upload(plant.shop, packs.zipped(packs.images()))))

        assert job.failure_class in (FailureClass.USER, FailureClass.TIMEOUT)
        assert job.attempt == 1
