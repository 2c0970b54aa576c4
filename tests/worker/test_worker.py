"""A worker process: it runs jobs, follows wishes, and what kills it or its children costs nothing."""

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest
import safetensors.torch
import torch
from sqlalchemy import select, update

from app.store import ensembles, events, metrics, snapshots, wishes
from app.store.engine import write
from app.store.models import Attempt, BlobChunk, Checkpoint, Dataset, Job
from app.store.models import Worker as WorkerRow
from app.store.states import FailureClass, Kind, Outcome, Status
from tests.servers import await_true
from tests.worker.conftest import Plant
from tests.worker.watching import (
    LONG,
    SECONDS,
    Undisturbed,
    assert_same,
    await_epoch,
    await_status,
    files,
    kinds,
    status,
)
from trainer.errors import ExecutionUnavailable
from worker import failure
from worker.child import _failure


def test_a_job_runs_to_its_end_when_the_bell_rings(plant: Plant) -> None:
    job = plant.shop.submit()

    assert plant.bell.ring("auto")
    await_status(plant.shop, job, Status.SUCCEEDED)

    assert kinds(plant.shop, job) == [
        *("submitted", "started", "training_started", "snapshot_taken", "snapshot_taken"),
        *("ensemble_scored", "succeeded"),
    ]
    done = plant.shop.job(job.id)
    assert (done.epoch, done.step, done.attempt) == (4, 128, 1)
    with plant.shop.look() as session:
        assert [row.epoch for row in metrics.epochs(session, job.id)] == [1, 2, 3, 4]
        assert metrics.names(session, job.id) == ["learning_rate", "loss"]
        assert metrics.series(session, job.id, "loss").steps.tolist() == list(range(1, 129))
        ensemble = ensembles.of_job(session, job.id)
        assert ensemble is not None
        assert len(ensembles.members(session, ensemble.id)) == 2
        (seen,) = session.scalars(select(WorkerRow)).all()
        assert seen.pid == plant.worker.pid


def test_a_worker_that_is_stopped_as_soon_as_it_is_ready_leaves_nothing(own_plant: Plant) -> None:
    kept = set((own_plant.folder / "scratch").iterdir())

    other = own_plant.another()
    await_true(lambda: other.log.read_text().count("worker ready") == 2, 30)

    assert other.stop() == 0
    assert set((own_plant.folder / "scratch").iterdir()) == kept
    with own_plant.shop.look() as session:
        assert [row.pid for row in session.scalars(select(WorkerRow))] == [own_plant.worker.pid]


def test_jobs_run_one_after_another_for_one_bell(plant: Plant) -> None:
    queued = [plant.shop.submit(epochs=2) for _ in range(3)]

    plant.bell.ring("auto")

    for job in queued:
        await_status(plant.shop, job, Status.SUCCEEDED)


def test_a_job_without_a_bell_is_found(plant: Plant) -> None:
    job = plant.shop.submit()
    with write(plant.shop.engine) as session:
        session.execute(update(Job).values(rung_at=None))

    await_status(plant.shop, job, Status.SUCCEEDED)


def test_a_job_is_found_without_a_broker(plant: Plant) -> None:
    plant.valkey.kill()
    try:
        job = plant.shop.submit()
        with write(plant.shop.engine) as session:
            session.execute(update(Job).values(rung_at=None))
        await_status(plant.shop, job, Status.SUCCEEDED)
    finally:
        plant.valkey.start()


def test_a_killed_child_costs_nothing(plant: Plant, undisturbed: Undisturbed) -> None:
    job = plant.shop.submit(**LONG)
    plant.bell.ring("auto")
    await_epoch(plant.shop, job, 5)
    (child,) = plant.worker.children()

    os.kill(child, signal.SIGKILL)
    await_status(plant.shop, job, Status.SUCCEEDED)

    assert plant.shop.job(job.id).attempt == 2
    assert {"requeued", "resumed"} <= set(kinds(plant.shop, job))
    assert_same(plant.shop, job, undisturbed)


def test_a_worker_streams_what_may_not_lie_on_its_devices(
    database_url: str, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    with closing(Plant(tmp_path, database_url, resident_bytes="0")) as plant:
        job = plant.shop.submit(**LONG)
        plant.bell.ring("auto")
        await_epoch(plant.shop, job, 5)
        (child,) = plant.worker.children()

        os.kill(child, signal.SIGKILL)
        await_status(plant.shop, job, Status.SUCCEEDED)

        assert_same(plant.shop, job, undisturbed)
        with plant.shop.look() as session:
            history = events.after(session, job.id, 0, 100)
        started = [event.data["streamed"] for event in history if event.kind == "training_started"]
        assert started == [["train", "validation"]] * 2


def test_a_killed_worker_costs_nothing(own_plant: Plant, undisturbed: Undisturbed) -> None:
    job = own_plant.shop.submit(**LONG)
    own_plant.bell.ring("auto")
    await_epoch(own_plant.shop, job, 5)
    (child,) = own_plant.worker.children()

    own_plant.worker.kill()
    await_true(lambda: not Path(f"/proc/{child}").exists(), 5)
    with own_plant.another() as other:
        await_status(own_plant.shop, job, Status.SUCCEEDED)

        assert other.pid != own_plant.worker.pid
    assert own_plant.shop.job(job.id).attempt == 2
    with own_plant.shop.look() as session:
        outcomes = session.scalars(select(Attempt.outcome).order_by(Attempt.number)).all()
    assert outcomes == [Outcome.LOST, Outcome.SUCCEEDED]
    assert_same(own_plant.shop, job, undisturbed)


def test_a_worker_that_is_told_to_stop_hands_its_job_back(own_plant: Plant, undisturbed: Undisturbed) -> None:
    job = own_plant.shop.submit(**LONG)
    own_plant.bell.ring("auto")
    await_epoch(own_plant.shop, job, 5)

    assert own_plant.worker.stop() == 0

    assert status(own_plant.shop, job) is Status.QUEUED
    assert "released" in kinds(own_plant.shop, job)
    assert list((own_plant.folder / "scratch").iterdir()) == []
    with own_plant.another():
        own_plant.bell.ring("auto")
        await_status(own_plant.shop, job, Status.SUCCEEDED)
    assert_same(own_plant.shop, job, undisturbed)


@pytest.mark.parametrize("epoch", [0, 3])
def test_a_running_job_is_cancelled(plant: Plant, epoch: int) -> None:
    job = plant.shop.submit(**{**LONG, "epochs": 900})
    plant.bell.ring("auto")
    await_true(
        lambda: plant.shop.job(job.id).status is Status.RUNNING and plant.shop.job(job.id).epoch >= epoch, SECONDS
    )

    plant.shop.act(wishes.cancel, job.id)
    await_true(lambda: status(plant.shop, job) is Status.CANCELLED, 5)

    await_true(lambda: plant.worker.children() == [], 5)
    assert kinds(plant.shop, job)[-1] == "cancelled"


def test_a_worker_takes_the_next_job_after_a_cancel(plant: Plant) -> None:
    first, second = plant.shop.submit(**{**LONG, "epochs": 900}), plant.shop.submit()
    plant.bell.ring("auto")
    await_epoch(plant.shop, first, 1)

    plant.shop.act(wishes.cancel, first.id)

    await_status(plant.shop, second, Status.SUCCEEDED)


def test_independent_members_are_one_job_of_all_their_epochs(plant: Plant) -> None:
    cosine = {"kind": "cosine", "learning_rate": 0.05}
    job = plant.shop.submit(schedule=cosine, epochs=2, ensemble={"kind": "independent", "members": 2})
    plant.bell.ring("auto")
    await_status(plant.shop, job, Status.SUCCEEDED)

    with plant.shop.look() as session:
        assert [row.epoch for row in metrics.epochs(session, job.id)] == [1, 2, 3, 4]
        assert [taken.epoch for taken in snapshots.of_job(session, job.id)] == [2, 4]
        ensemble = ensembles.of_job(session, job.id)
        assert ensemble is not None
        assert (ensemble.kind, len(ensembles.members(session, ensemble.id))) == ("independent", 2)
    assert (plant.shop.job(job.id).epoch, plant.shop.job(job.id).epochs) == (4, 4)


def test_averaged_weights_are_stored_as_one_more_snapshot(plant: Plant) -> None:
    cosine = {"kind": "cosine", "learning_rate": 0.05}
    job = plant.shop.submit(schedule=cosine, ensemble={"kind": "swa", "start": 2})
    plant.bell.ring("auto")
    await_status(plant.shop, job, Status.SUCCEEDED)

    with plant.shop.look() as session:
        last, averaged = snapshots.of_job(session, job.id)
        assert "average" not in last.provenance
        assert averaged.provenance["average"] == "swa"
        ensemble = ensembles.of_job(session, job.id)
        assert ensemble is not None
        assert (ensemble.kind, ensemble.averaged, ensemble.accuracy) == ("swa", 3, averaged.accuracy)
        assert ensemble.single_accuracy == last.accuracy


def test_a_loss_that_is_not_finite_fails_the_job_with_the_step_and_a_hint(plant: Plant) -> None:
    job = plant.shop.submit(
        schedule={"kind": "constant", "learning_rate": 1000.0},
        optimizer={"kind": "sgd", "momentum": {"form": "classical", "m": 0.99}},
        ensemble={"kind": "none"},
    )
    plant.bell.ring("auto")
    await_status(plant.shop, job, Status.FAILED)

    failed = plant.shop.job(job.id)
    assert (failed.failure_class, failed.failure_code) == ("diverged", "loss_not_finite")
    assert failed.failure_detail is not None
    assert f"at step {failed.failure_detail['step']}" in str(failed.failure_message)
    assert f"layer {failed.failure_detail['layer']}" in str(failed.failure_message)
    checkpoint_step = failed.failure_detail["checkpoint_step"] or 0
    assert checkpoint_step % 32 == 0
    assert checkpoint_step < failed.failure_detail["step"]
    assert "learning_rate" in str(failed.failure_hint)
    assert failed.attempt == 1
    with plant.shop.look() as session:
        last = metrics.series(session, job.id, "loss").steps[-1]
    assert failed.failure_detail["step"] in (last, last + 1)


def test_a_data_set_that_has_changed_fails_the_job(own_plant: Plant) -> None:
    with write(own_plant.shop.engine) as session:
        session.execute(update(Dataset).values(sha256="0" * 64))
    job = own_plant.shop.submit()
    own_plant.bell.ring("auto")
    await_status(own_plant.shop, job, Status.FAILED)

    failed = own_plant.shop.job(job.id)
    assert (failed.failure_class, failed.failure_code) == ("user", "data_invalid")


@pytest.mark.parametrize(("kind", "remedy"), [(Kind.TRAINING, "batch_size"), (Kind.EXPORT, "fewer members")])
@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError()])
def test_what_has_no_memory_is_told_what_helps_its_kind(error: Exception, kind: Kind, remedy: str) -> None:
    found = failure.told(kind, _failure(error, 3, Path()))

    assert (found.failure_class, found.code) == (FailureClass.OUT_OF_MEMORY, "out_of_memory")
    assert found.hint is not None
    assert remedy in found.hint


def test_what_the_workers_machine_cannot_do_fails_the_job_as_the_users_with_a_hint() -> None:
    failed = _failure(ExecutionUnavailable("This CPU has no bfloat16.", "Use float32."), 0, Path())

    assert (failed.failure_class, failed.code) == ("user", "execution_unavailable")
    assert (failed.message, failed.hint) == ("This CPU has no bfloat16.", "Use float32.")


def test_a_damaged_checkpoint_is_passed_over_and_said(own_plant: Plant, undisturbed: Undisturbed) -> None:
    job = own_plant.shop.submit(**LONG)
    own_plant.bell.ring("auto")
    await_epoch(own_plant.shop, job, 5)
    own_plant.worker.stop()
    with write(own_plant.shop.engine) as session:
        newest = session.scalars(select(Checkpoint).order_by(Checkpoint.step.desc())).first()
        assert newest is not None
        session.execute(update(BlobChunk).where(BlobChunk.sha256 == newest.sha256).values(data=b"damaged"))

    with own_plant.another():
        own_plant.bell.ring("auto")
        await_status(own_plant.shop, job, Status.SUCCEEDED)
    with own_plant.shop.look() as session:
        told = [event.message for event in events.after(session, job.id, 0, 100)]
    assert any(f"The checkpoint of step {newest.step} is damaged" in message for message in told)
    assert_same(own_plant.shop, job, undisturbed)


def test_a_downloaded_snapshot_is_a_safetensors_file(plant: Plant) -> None:
    job = plant.shop.submit(epochs=2)
    plant.bell.ring("auto")
    await_status(plant.shop, job, Status.SUCCEEDED)

    weights = safetensors.torch.load(files(plant.shop, job)[0])
    assert set(weights) == {
        *("preprocessing.mean", "preprocessing.std"),
        *("hidden1.weight", "hidden1.bias", "output.weight", "output.bias"),
    }
