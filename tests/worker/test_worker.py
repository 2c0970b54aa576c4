"""A worker process: it runs jobs, follows wishes, and what kills it or its children costs nothing."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from sqlalchemy import select, update

from app.queue import Bell
from app.store import blobs, ensembles, events, jobs, metrics, snapshots
from app.store.engine import write
from app.store.models import Attempt, BlobChunk, Checkpoint, Dataset, Job
from app.store.models import Worker as WorkerRow
from app.store.states import Outcome, Status
from tests.servers import Valkey, Worker, await_true
from tests.shop import Shop
from tests.specs import spec
from trainer import data
from trainer.events import EpochFinished, SnapshotTaken
from trainer.snapshot import write as write_snapshot
from trainer.train import train

SECONDS = 30.0

# Long enough to be caught in the middle, and with everything in it that could differ after a restart.
LONG: dict[str, Any] = {
    "network": {"kind": "convnet", "channels": [8], "batch_norm": {}, "dropout": {"drop": 0.2}},
    "augmentation": [{"kind": "random_crop", "padding": 2}],
    "schedule": {"kind": "snapshot_cycles", "learning_rate": 0.05, "cycles": 3},
    "optimizer": {"kind": "sgd", "momentum": {"form": "averaged"}},
    "epochs": 9,
    "batch_size": 64,
}


def status(shop: Shop, job: Job) -> Status:
    return shop.job(job.id).status


def await_status(shop: Shop, job: Job, wanted: Status) -> None:
    await_true(lambda: status(shop, job) is wanted, SECONDS)


def await_epoch(shop: Shop, job: Job, epoch: int) -> None:
    """Wait until the job is in an epoch, and so has the checkpoint of the one before."""
    await_true(lambda: shop.job(job.id).epoch >= epoch, SECONDS)


def kinds(shop: Shop, job: Job) -> list[str]:
    with shop.look() as session:
        return [event.kind for event in events.after(session, job.id, 0, 100)]


def files(shop: Shop, job: Job) -> list[bytes]:
    """The bytes of every snapshot."""
    with shop.look() as session:
        hashes = [snapshot.sha256 for snapshot in snapshots.of_job(session, job.id)]
    return [b"".join(blobs.stream(shop.engine, sha256)) for sha256 in hashes]


def undisturbed(tmp_path: Path, **changes: Any) -> tuple[list[bytes], list[float]]:
    """The snapshot files and validation losses of the same spec, trained here without any service."""
    found, losses = [], []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for event in train(spec(**changes), data.load("mnist5k"), device=torch.device("cpu")):
            if isinstance(event, SnapshotTaken):
                path = tmp_path / "undisturbed"
                write_snapshot(path, event.weights, event.provenance)
                found.append(path.read_bytes())
            if isinstance(event, EpochFinished):
                losses.append(event.validation_loss)
    finally:
        torch.set_num_threads(threads)
    return found, losses


def assert_undisturbed(shop: Shop, job: Job, tmp_path: Path) -> None:
    """Every step and epoch once, and the bytes of a training that nothing happened to."""
    expected, losses = undisturbed(tmp_path, **LONG)
    assert files(shop, job) == expected
    with shop.look() as session:
        rows = metrics.epochs(session, job.id)
        assert [row.epoch for row in rows] == list(range(1, 10))
        assert [row.validation_loss for row in rows] == losses
        steps = metrics.series(session, job.id, "loss").steps
    assert steps.tolist() == list(range(1, 9 * 63 + 1))


def test_a_job_runs_to_its_end_when_the_bell_rings(shop: Shop, bell: Bell, worker: Worker) -> None:
    job = shop.submit()

    assert bell.ring("auto")
    await_status(shop, job, Status.SUCCEEDED)

    assert kinds(shop, job) == [
        *("submitted", "started", "training_started", "snapshot_taken", "snapshot_taken"),
        *("ensemble_scored", "succeeded"),
    ]
    done = shop.job(job.id)
    assert (done.epoch, done.step, done.attempt) == (4, 128, 1)
    with shop.look() as session:
        assert [row.epoch for row in metrics.epochs(session, job.id)] == [1, 2, 3, 4]
        assert metrics.names(session, job.id) == ["learning_rate", "loss"]
        assert metrics.series(session, job.id, "loss").steps.tolist() == list(range(1, 129))
        ensemble = ensembles.of_job(session, job.id)
        assert ensemble is not None
        assert len(ensembles.members(session, ensemble.id)) == 2
        (seen,) = session.scalars(select(WorkerRow)).all()
        assert seen.pid == worker.pid


def test_jobs_run_one_after_another_for_one_bell(shop: Shop, bell: Bell, worker: Worker) -> None:
    queued = [shop.submit(epochs=2) for _ in range(3)]

    bell.ring("auto")

    for job in queued:
        await_status(shop, job, Status.SUCCEEDED)


def test_a_job_without_a_bell_is_found(shop: Shop, worker: Worker) -> None:
    job = shop.submit()
    with write(shop.engine) as session:
        session.execute(update(Job).values(rung_at=None))

    await_status(shop, job, Status.SUCCEEDED)


def test_a_job_is_found_without_a_broker(shop: Shop, worker: Worker, valkey: Valkey) -> None:
    valkey.kill()
    try:
        job = shop.submit()
        with write(shop.engine) as session:
            session.execute(update(Job).values(rung_at=None))
        await_status(shop, job, Status.SUCCEEDED)
    finally:
        valkey.start()


def test_a_killed_child_costs_nothing(shop: Shop, bell: Bell, worker: Worker, tmp_path: Path) -> None:
    job = shop.submit(**LONG)
    bell.ring("auto")
    await_epoch(shop, job, 5)
    (child,) = worker.children()

    os.kill(child, signal.SIGKILL)
    await_status(shop, job, Status.SUCCEEDED)

    assert shop.job(job.id).attempt == 2
    assert {"requeued", "resumed"} <= set(kinds(shop, job))
    assert_undisturbed(shop, job, tmp_path)


def test_a_killed_worker_costs_nothing(
    shop: Shop, bell: Bell, worker: Worker, tmp_path: Path, database_url: str, broker_url: str
) -> None:
    job = shop.submit(**LONG)
    bell.ring("auto")
    await_epoch(shop, job, 5)
    (child,) = worker.children()

    worker.kill()
    await_true(lambda: not Path(f"/proc/{child}").exists(), 5)
    with Worker(tmp_path, database_url, broker_url) as other:
        await_status(shop, job, Status.SUCCEEDED)

        assert other.pid != worker.pid
    assert shop.job(job.id).attempt == 2
    with shop.look() as session:
        outcomes = session.scalars(select(Attempt.outcome).order_by(Attempt.number)).all()
    assert outcomes == [Outcome.LOST, Outcome.SUCCEEDED]
    assert_undisturbed(shop, job, tmp_path)


def test_a_worker_that_is_told_to_stop_hands_its_job_back(
    shop: Shop, bell: Bell, worker: Worker, tmp_path: Path, database_url: str, broker_url: str
) -> None:
    job = shop.submit(**LONG)
    bell.ring("auto")
    await_epoch(shop, job, 5)

    assert worker.stop() == 0

    assert status(shop, job) is Status.QUEUED
    assert "released" in kinds(shop, job)
    assert list((tmp_path / "scratch").iterdir()) == []
    with Worker(tmp_path, database_url, broker_url):
        bell.ring("auto")
        await_status(shop, job, Status.SUCCEEDED)
    assert_undisturbed(shop, job, tmp_path)


@pytest.mark.parametrize("epoch", [0, 3])
def test_a_running_job_is_cancelled(shop: Shop, bell: Bell, worker: Worker, epoch: int) -> None:
    job = shop.submit(**{**LONG, "epochs": 900})
    bell.ring("auto")
    await_true(lambda: shop.job(job.id).status is Status.RUNNING and shop.job(job.id).epoch >= epoch, SECONDS)

    shop.act(jobs.request_cancel, job.id)
    await_true(lambda: status(shop, job) is Status.CANCELLED, 5)

    await_true(lambda: worker.children() == [], 5)
    assert kinds(shop, job)[-1] == "cancelled"


def test_a_worker_takes_the_next_job_after_a_cancel(shop: Shop, bell: Bell, worker: Worker) -> None:
    first, second = shop.submit(**{**LONG, "epochs": 900}), shop.submit()
    bell.ring("auto")
    await_epoch(shop, first, 1)

    shop.act(jobs.request_cancel, first.id)

    await_status(shop, second, Status.SUCCEEDED)


def test_a_loss_that_is_not_finite_fails_the_job_with_the_step_and_a_hint(
    shop: Shop, bell: Bell, worker: Worker
) -> None:
    job = shop.submit(
        schedule={"kind": "constant", "learning_rate": 1000.0},
        optimizer={"kind": "sgd", "momentum": {"form": "classical", "m": 0.99}},
        ensemble={"kind": "none"},
    )
    bell.ring("auto")
    await_status(shop, job, Status.FAILED)

    failed = shop.job(job.id)
    assert (failed.failure_class, failed.failure_code) == ("diverged", "loss_not_finite")
    assert failed.failure_detail is not None
    assert f"at step {failed.failure_detail['step']}" in str(failed.failure_message)
    assert "learning_rate" in str(failed.failure_hint)
    assert failed.attempt == 1
    with shop.look() as session:
        last = metrics.series(session, job.id, "loss").steps[-1]
    assert failed.failure_detail["step"] in (last, last + 1)


def test_a_data_set_that_has_changed_fails_the_job(shop: Shop, bell: Bell, worker: Worker) -> None:
    with write(shop.engine) as session:
        session.execute(update(Dataset).values(sha256="0" * 64))
    job = shop.submit()
    bell.ring("auto")
    await_status(shop, job, Status.FAILED)

    failed = shop.job(job.id)
    assert (failed.failure_class, failed.failure_code) == ("user", "data_invalid")


def test_a_damaged_checkpoint_is_passed_over_and_said(
    shop: Shop, bell: Bell, worker: Worker, tmp_path: Path, database_url: str, broker_url: str
) -> None:
    job = shop.submit(**LONG)
    bell.ring("auto")
    await_epoch(shop, job, 5)
    worker.stop()
    with write(shop.engine) as session:
        newest = session.scalars(select(Checkpoint).order_by(Checkpoint.step.desc())).first()
        assert newest is not None
        session.execute(update(BlobChunk).where(BlobChunk.sha256 == newest.sha256).values(data=b"damaged"))

    with Worker(tmp_path, database_url, broker_url):
        bell.ring("auto")
        await_status(shop, job, Status.SUCCEEDED)
    with shop.look() as session:
        told = [event.message for event in events.after(session, job.id, 0, 100)]
    assert any(f"The checkpoint of step {newest.step} is damaged" in message for message in told)
    assert_undisturbed(shop, job, tmp_path)


def test_a_downloaded_snapshot_is_a_safetensors_file(shop: Shop, bell: Bell, worker: Worker) -> None:
    job = shop.submit(epochs=2)
    bell.ring("auto")
    await_status(shop, job, Status.SUCCEEDED)

    weights = safetensors.torch.load(files(shop, job)[0])
    assert set(weights) == {
        *("preprocessing.mean", "preprocessing.std"),
        *("hidden1.weight", "hidden1.bias", "output.weight", "output.bias"),
    }
