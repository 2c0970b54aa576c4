"""Imports: the jobs that make data sets, from the request to the end."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store import datasets, ids, jobs, uploads
from app.store.clock import now
from app.store.engine import insert_unless_there
from app.store.errors import NameTaken, UploadIncomplete
from app.store.jobs import Idempotency, NewJob
from app.store.models import Dataset, Job, Upload
from app.store.states import Kind
from trainer.errors import Mistake, SpecInvalid
from trainer.spec.importing import ImportSpec, UploadedSource

STEPS = 1000
"""An import counts its work in thousandths."""


def make(
    session: Session,
    spec: ImportSpec,
    *,
    sees: str | None,
    max_attempts: int,
    owner: str = jobs.DEFAULT_OWNER,
    max_queued: int | None = None,
    idempotency: Idempotency | None = None,
) -> tuple[Dataset, Job | None]:
    """Queue the import that makes a data set; no job where the owner has that data set already, or it is being made.

    Raises `SpecInvalid`, `NameTaken`, `UploadIncomplete`, `UploadInUse`, and what `jobs.enqueue` raises.
    """
    if idempotency and (known := jobs.known(session, idempotency)) and known.dataset_id:
        return session.get_one(Dataset, known.dataset_id), None
    name = _name(spec)
    upload = _upload(session, spec, sees)
    request = spec.request_sha256(upload.sha256 if upload else None)
    dataset, is_wanted = _take_name(session, name, owner, request)
    if not is_wanted:
        if upload and dataset.ready_at:
            uploads.remove(session, upload.id)
        return dataset, None
    if upload:
        uploads.refuse_while_read(session, upload)
    if upload and (missing := uploads.missing(session, upload)):
        raise UploadIncomplete(upload.id, missing)
    new = NewJob(
        kind=Kind.IMPORT,
        name=name,
        spec=spec.model_copy(update={"name": name}).model_dump(mode="json"),
        spec_sha256=request,
        device=spec.device,
        steps=STEPS,
        labels=spec.labels,
        dataset_id=dataset.id,
        priority=spec.priority,
        max_attempts=spec.max_attempts,
        max_runtime=spec.max_runtime,
    )
    job, _ = jobs.enqueue(
        session, new, max_attempts=max_attempts, owner=owner, max_queued=max_queued, idempotency=idempotency
    )
    if upload:
        upload.job_id, upload.used_at = job.id, now()
        session.flush()
    return dataset, job


def complete(session: Session, job: Job) -> None:
    """The import has succeeded: its data set is there for everybody who may see it, and its upload is not needed."""
    if job.dataset_id:
        dataset = session.get_one(Dataset, job.dataset_id)
        dataset.ready_at = now()
        dataset.size = sum(file.size for file in datasets.files(session, dataset.id))
    uploads.remove_of_job(session, job.id)


def abandon(session: Session, job: Job, *, for_its_content: bool = False) -> None:
    """The import has ended without a data set: nothing that it has stored stays.

    Its upload goes too where it is to blame, unless it was to be kept.
    """
    datasets.forget(session, job)
    if for_its_content and not job.spec["keep_upload"]:
        uploads.remove_of_job(session, job.id)


def _name(spec: ImportSpec) -> str:
    name = spec.called
    if name is None:
        raise SpecInvalid([Mistake("/name", "missing", "Say what the data set is to be called.")])
    if name.startswith(datasets.ID):
        raise SpecInvalid([Mistake("/name", "reserved", f"Ids begin with {datasets.ID}; give a name that does not.")])
    return name


def _upload(session: Session, spec: ImportSpec, sees: str | None) -> Upload | None:
    """The upload that is to be imported, held until the transaction ends."""
    if not isinstance(spec.source, UploadedSource):
        return None
    query = select(Upload).where(Upload.id == spec.source.upload).with_for_update()
    upload = session.scalars(query, execution_options={"populate_existing": True}).first()
    if upload is None or sees not in (None, upload.owner):
        detail = f"There is no upload {spec.source.upload}; it may be imported already, or too old."
        raise SpecInvalid([Mistake("/source/upload", "unknown_upload", detail)])
    return upload


def _take_name(session: Session, name: str, owner: str, request: str) -> tuple[Dataset, bool]:
    """The data set of this name for an owner, and whether it is to be made. Raises `NameTaken`."""
    new = {"id": ids.new("data"), "name": name, "owner": owner, "request_sha256": request}
    insert_unless_there(session, Dataset, new)
    query = select(Dataset).where(Dataset.name == name).with_for_update()
    dataset = session.scalars(query, execution_options={"populate_existing": True}).one()
    if dataset.id == new["id"]:
        return dataset, True
    importing = datasets.imports(session, [dataset.id]).get(dataset.id)
    if dataset.ready_at is None and (importing is None or importing.status.is_final):
        dataset.owner, dataset.request_sha256 = owner, request
        return dataset, True
    if (dataset.owner, dataset.request_sha256) == (owner, request):
        return dataset, False
    detail = f"The name {name} belongs to another data set; choose another name"
    raise NameTaken(f"{detail}." if dataset.owner != owner else f"{detail}, or delete that one.")
