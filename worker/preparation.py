"""What the processes of an attempt are to do, by the kind of its job, with the files that they go on from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.store.checkpoints import CheckpointRef
from app.store.claims import Claim
from app.store.errors import BlobDamaged
from app.store.snapshots import SnapshotRef
from app.store.states import Kind
from worker.order import Data, ScoringTask, Task, TrainingTask
from worker.settings import WorkerSettings

Fetch = Callable[[str, Path], Path]
"""Writes a blob to a file and returns its path; raises `BlobDamaged`."""


class Damaged(Exception):
    """What the job goes on from is not whole."""

    def __init__(self, ref: CheckpointRef | SnapshotRef) -> None:
        super().__init__(f"{ref.sha256} is damaged")
        self.ref = ref


def tasks(claim: Claim, settings: WorkerSettings, fetch: Fetch, folder: Path, count: int) -> list[Task]:
    """One for each of `count` processes; files are fetched into `folder` for the first. Raises `Damaged`."""
    if claim.kind is Kind.SCORING:
        members = zip((ref.id for ref in claim.snapshots), _snapshots(claim, fetch, folder), strict=True)
        return [ScoringTask(claim.spec_json, _data(claim), tuple(members))]
    first = TrainingTask(
        spec=claim.spec_json,
        data=_data(claim),
        checkpoint=_checkpoint(claim, fetch, folder),
        snapshots=_snapshots(claim, fetch, folder),
        checkpoint_seconds=settings.checkpoint_seconds,
        report_seconds=settings.report_seconds,
    )
    return [first, *[replace(first, checkpoint=None, snapshots=())] * (count - 1)]


def _data(claim: Claim) -> Data:
    assert claim.dataset is not None
    return Data(claim.dataset.name, claim.dataset.sha256)


def _checkpoint(claim: Claim, fetch: Fetch, folder: Path) -> Path | None:
    if claim.checkpoint is None:
        return None
    return _fetched(claim.checkpoint, fetch, folder / "resume.safetensors")


def _snapshots(claim: Claim, fetch: Fetch, folder: Path) -> tuple[Path, ...]:
    return tuple(
        _fetched(ref, fetch, folder / f"resume-snapshot-{place}.safetensors")
        for place, ref in enumerate(claim.snapshots, 1)
    )


def _fetched(ref: CheckpointRef | SnapshotRef, fetch: Fetch, path: Path) -> Path:
    try:
        return fetch(ref.sha256, path)
    except BlobDamaged:
        raise Damaged(ref) from None
