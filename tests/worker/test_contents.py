"""Trainings whose files lie outside the database."""

import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.store.models import Blob, BlobChunk
from app.store.states import Status
from tests.servers import S3
from tests.worker.conftest import Plant
from tests.worker.watching import LONG, Undisturbed, assert_same, await_epoch, await_status


def in_chunks(plant: Plant) -> int:
    with plant.shop.look() as session:
        return session.scalar(select(func.count()).select_from(BlobChunk)) or 0


def outside(plant: Plant, place: str) -> bool:
    with plant.shop.look() as session:
        return all(where.startswith(f"{place}/") for where in session.scalars(select(Blob.address)))


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_killed_training_goes_on_from_files_outside_the_database(
    kind: str,
    sqlite_url: str,
    tmp_path: Path,
    s3: S3,
    undisturbed: Undisturbed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = f"file://{tmp_path}/contents" if kind == "file" else f"s3://annealer/{tmp_path.name}"
    monkeypatch.setenv("ANNEALER_BLOBS", place)
    plant = Plant(tmp_path, sqlite_url)
    try:
        job = plant.shop.submit(**LONG)
        plant.bell.ring("auto")
        await_epoch(plant.shop, job, 5)
        plant.worker.kill()
        with plant.another():
            plant.bell.ring("auto")
            await_status(plant.shop, job, Status.SUCCEEDED)

        assert_same(plant.shop, job, undisturbed)
        assert plant.shop.job(job.id).attempt == 2
        assert in_chunks(plant) == 0
        assert outside(plant, place)
    finally:
        plant.close()


def test_a_training_waits_for_storage_that_is_away(
    sqlite_url: str, tmp_path: Path, s3: S3, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANNEALER_BLOBS", f"s3://annealer/{tmp_path.name}")
    plant = Plant(tmp_path, sqlite_url)
    try:
        job = plant.shop.submit(**LONG)
        plant.bell.ring("auto")
        await_epoch(plant.shop, job, 3)
        with s3.stopped():
            time.sleep(2)
        await_status(plant.shop, job, Status.SUCCEEDED)

        assert_same(plant.shop, job, undisturbed)
        assert plant.shop.job(job.id).attempt == 1
    finally:
        plant.close()
