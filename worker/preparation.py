"""What the processes of an attempt are to do, by the kind of its job, with the files that they go on from."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from app.store.checkpoints import CheckpointRef
from app.store.claims import Claim
from app.store.errors import BlobDamaged
from app.store.snapshots import SnapshotRef
from app.store.states import Kind
from app.store.uploads import UploadRef
from trainer.datasets.limits import Limits
from worker.order import Data, ExportTask, ImportTask, PredictionTask, ScoringTask, Task, TrainingTask
from worker.settings import WorkerSettings


class Fetcher(Protocol):
    """Writes what is stored to files, and returns their paths. Raises `BlobDamaged`."""

    def fetch(self, sha256: str, path: Path) -> Path:
        """A blob."""

    def join(self, upload: UploadRef, path: Path) -> Path:
        """An upload, whose parts are blobs."""


class Damaged(Exception):
    """What the job goes on from is not whole."""

    def __init__(self, ref: CheckpointRef | SnapshotRef) -> None:
        super().__init__(f"{ref.sha256} is damaged")
        self.ref = ref


class MemberGone(Exception):
    """A snapshot that was to predict or to be exported is not there any more."""


class UploadUnfit(Exception):
    """What is to be imported is gone, or is not what was announced."""

    def __init__(self, upload: UploadRef | None) -> None:
        super().__init__("the upload is gone" if upload is None else f"{upload.sha256} is not what has arrived")
        self.upload = upload


def tasks(
    claim: Claim, settings: WorkerSettings, fetcher: Fetcher, folder: Path, pack: Path | None, count: int
) -> list[Task]:
    """One for each of `count` processes; files are fetched into `folder` for the first, a data set lies in `pack`.

    Raises `Damaged`, `MemberGone` or `UploadUnfit`.
    """
    match claim.kind:
        case Kind.TRAINING:
            first = _training(claim, settings, fetcher, folder, pack)
            return [first, *[replace(first, checkpoint=None, snapshots=())] * (count - 1)]
        case Kind.SCORING:
            members = zip((ref.id for ref in claim.snapshots), _snapshots(claim, fetcher, folder), strict=True)
            return [ScoringTask(claim.spec_json, _data(claim, pack), tuple(members))]
        case Kind.PREDICTION:
            return [PredictionTask(claim.spec_json, _data(claim, pack), _model(claim, fetcher, folder))]
        case Kind.EXPORT:
            return [ExportTask(claim.spec_json, _model(claim, fetcher, folder))]
        case Kind.IMPORT:
            return [_import(claim, settings, fetcher, folder)]


def _training(
    claim: Claim, settings: WorkerSettings, fetcher: Fetcher, folder: Path, pack: Path | None
) -> TrainingTask:
    return TrainingTask(
        spec=claim.spec_json,
        data=_data(claim, pack),
        checkpoint=_checkpoint(claim, fetcher, folder),
        snapshots=_snapshots(claim, fetcher, folder),
        checkpoint_seconds=settings.checkpoint_seconds,
        report_seconds=settings.report_seconds,
    )


def _import(claim: Claim, settings: WorkerSettings, fetcher: Fetcher, folder: Path) -> ImportTask:
    seconds = settings.import_seconds
    return ImportTask(
        spec=claim.spec_json,
        source=_source(claim, fetcher, folder) if claim.spec["source"]["kind"] == "upload" else None,
        mirror=settings.datasets_mirror,
        limits=Limits(unpacked_bytes=settings.import_bytes, pack_bytes=settings.import_bytes, seconds=seconds),
        memory_bytes=settings.import_memory_bytes,
        processor_seconds=math.ceil(seconds),
    )


def _source(claim: Claim, fetcher: Fetcher, folder: Path) -> Path:
    """The file that was uploaded, by the name that it had in a folder of its own."""
    if claim.upload is None:
        raise UploadUnfit(None)
    path = folder / "source" / claim.upload.name
    path.parent.mkdir()
    try:
        return fetcher.join(claim.upload, path)
    except BlobDamaged:
        raise UploadUnfit(claim.upload) from None


def _data(claim: Claim, pack: Path | None) -> Data:
    assert claim.dataset is not None
    return Data(claim.dataset.name, claim.dataset.sha256, pack)


def _checkpoint(claim: Claim, fetcher: Fetcher, folder: Path) -> Path | None:
    if claim.checkpoint is None:
        return None
    return _fetched(claim.checkpoint, fetcher, folder / "resume.safetensors")


def _snapshots(claim: Claim, fetcher: Fetcher, folder: Path) -> tuple[Path, ...]:
    return tuple(
        _fetched(ref, fetcher, folder / f"resume-snapshot-{place}.safetensors")
        for place, ref in enumerate(claim.snapshots, 1)
    )


def _model(claim: Claim, fetcher: Fetcher, folder: Path) -> tuple[Path, ...]:
    """The members of the spec's model, in order."""
    if [ref.id for ref in claim.snapshots] != [member["snapshot_id"] for member in claim.spec["model"]["members"]]:
        raise MemberGone
    return _snapshots(claim, fetcher, folder)


def _fetched(ref: CheckpointRef | SnapshotRef, fetcher: Fetcher, path: Path) -> Path:
    try:
        return fetcher.fetch(ref.sha256, path)
    except BlobDamaged:
        raise Damaged(ref) from None
