"""How worker tests watch a job, and the long job that they disturb."""

from typing import Any

from app.store import blobs, events, metrics, snapshots
from app.store.models import Job
from app.store.states import Status
from tests.servers import await_true
from tests.shop import Shop

SECONDS = 60.0

Undisturbed = tuple[list[bytes], list[float]]

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


def assert_same(shop: Shop, job: Job, undisturbed: Undisturbed) -> None:
    """Every step and epoch once, and the bytes of a training that nothing happened to."""
    expected, losses = undisturbed
    assert files(shop, job) == expected
    with shop.look() as session:
        rows = metrics.epochs(session, job.id)
        assert [row.epoch for row in rows] == list(range(1, 10))
        assert [row.validation_loss for row in rows] == losses
        steps = metrics.series(session, job.id, "loss").steps
    assert steps.tolist() == list(range(1, 9 * 63 + 1))
