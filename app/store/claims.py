"""A worker takes a job: from then on it is an attempt's, with a number and a lease."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.store import attempts, checkpoints, datasets, ensembles, events, jobs, snapshots, turns, uploads
from app.store.checkpoints import CheckpointRef
from app.store.clock import from_now
from app.store.datasets import PackFile
from app.store.models import Attempt, Dataset, Job, Worker
from app.store.snapshots import SnapshotRef
from app.store.states import Kind, Status
from app.store.uploads import UploadRef
from trainer.data import DataFacts
from trainer.offer import Offer

NEEDED = {
    Kind.TRAINING: snapshots.of_job,
    Kind.SCORING: ensembles.members_of_job,
    Kind.PREDICTION: snapshots.used_by,
    Kind.EXPORT: snapshots.used_by,
}
"""Snapshots that a job goes on from, or works with, by its kind."""


@dataclass(frozen=True)
class Claim:
    """A job that is now this worker's, what it goes on from, and how long it may run.

    `spec` is a document of its `kind`; there is no data set where the job is to make one, but perhaps an upload. `pack`
    is empty where the data set comes with the package. Of `max_runtime` seconds, `seconds_left` are left to this
    attempt; both are None where there is no limit.
    """

    job_id: str
    attempt: int
    kind: Kind
    spec: Mapping[str, Any]
    device: str
    devices: int
    dataset: DataFacts | None
    pack: tuple[PackFile, ...]
    upload: UploadRef | None
    checkpoint: CheckpointRef | None
    snapshots: tuple[SnapshotRef, ...]
    max_runtime: float | None
    seconds_left: float | None

    @property
    def spec_json(self) -> str:
        """The spec as a document."""
        return json.dumps(self.spec)


def claim(
    session: Session,
    *,
    worker_id: str,
    offers: Mapping[str, Offer],
    free: Mapping[str, int],
    device: str,
    lease_seconds: float,
) -> Claim | None:
    """Take the queued job whose turn it is; None where there is none, or it asks for more devices than are free.

    None too for a worker that is drained.

    `offers` is what the worker has for a job's `device`, and `free` how many devices of it are free now. Where they are
    too few, no other job goes before: this one would wait for ever while smaller ones follow each other.

    The same transaction removes what an earlier attempt reported after its last checkpoint: it will come again.
    """
    worker = session.get(Worker, worker_id)
    if worker is not None and worker.is_drained:
        return None
    job = turns.take(session, offers)
    if job is None or job.devices > free[job.device]:
        return None
    seconds_left = None if job.max_runtime is None else job.max_runtime - attempts.seconds_spent(session, job)
    checkpoint = checkpoints.newest(session, job.id)
    step = checkpoint.step if checkpoint else 0
    checkpoints.rewind(session, job, checkpoint)
    job.attempt += 1
    jobs.move(job, Status.RUNNING)
    session.add(
        Attempt(
            job_id=job.id,
            number=job.attempt,
            worker_id=worker_id,
            device=device,
            first_step=step + 1,
            lease_expires_at=from_now(lease_seconds),
        )
    )
    _tell_start(session, job, worker_id, worker, device, step)
    session.flush()
    is_import = job.kind is Kind.IMPORT
    needed = [] if is_import else NEEDED[job.kind](session, job.id)
    dataset = session.get_one(Dataset, job.dataset_id) if job.dataset_id and not is_import else None
    return Claim(
        job_id=job.id,
        attempt=job.attempt,
        kind=job.kind,
        spec=job.spec,
        device=job.device,
        devices=job.devices,
        dataset=datasets.facts(dataset) if dataset else None,
        pack=datasets.files(session, dataset.id) if dataset else (),
        upload=uploads.ref(session, job.id) if is_import else None,
        checkpoint=checkpoint,
        snapshots=tuple(map(snapshots.ref, needed)),
        max_runtime=job.max_runtime,
        seconds_left=seconds_left,
    )


def _tell_start(session: Session, job: Job, worker_id: str, worker: Worker | None, device: str, step: int) -> None:
    host = worker.host if worker else None
    data = {"worker": worker_id, "host": host, "device": device, "step": step}
    if job.attempt == 1:
        events.append(session, job, "started", f"Worker {worker_id} started the job.", data)
    else:
        where = f"from step {step}" if step else "from the start"
        message = f"Worker {worker_id} took the job up again {where} (attempt {job.attempt})."
        events.append(session, job, "resumed", message, data)
