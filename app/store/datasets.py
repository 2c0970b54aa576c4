"""Data sets by name and content: those that come with the package, and those that imports make.

A data set never changes. What people call its id is made of the hash of its content: the same data, whatever it is
called and however it came in, has the same id. Names are unique over the whole service, so that a spec means the same
data set whoever reads it; what is another owner's is not found all the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.store import blobs, cursors, ids
from app.store.clock import now
from app.store.errors import DatasetInUse, DatasetKept, NotFound
from app.store.models import Dataset, DatasetFile, Job
from app.store.states import Kind
from trainer.data import DataFacts
from trainer.datasets.manifest import Manifest
from trainer.errors import Mistake, SpecInvalid

ID = "data_"
"""How ids begin, and no name."""
ID_DIGITS = 32
MOST_JOBS = 20
MOST_NAMED = 20
FACTS = ("sha256", "channels", "height", "width", "classes", "train_count", "validation_count")
"""What lists show of a data set stands in columns of its own."""


@dataclass(frozen=True)
class PackFile:
    """A file of a pack: its blob and its bytes."""

    name: str
    sha256: str
    size: int


def register(session: Session, manifest: Manifest) -> Dataset:
    """Make a data set that comes with the package known to everybody; harmless when it is."""
    dataset = by_name(session, manifest.name)
    if dataset is None:
        dataset = Dataset(id=ids.new("data"), name=manifest.name)
        session.add(dataset)
    if dataset.sha256 in (None, manifest.sha256):
        _describe(dataset, manifest)
        dataset.ready_at = dataset.ready_at or now()
    session.flush()
    return dataset


def content_id(sha256: str) -> str:
    """The id of all data sets of this content."""
    return ID + sha256[:ID_DIGITS]


def by_name(session: Session, name: str) -> Dataset | None:
    """The data set of this name, if there is one, ready or not."""
    return session.scalars(select(Dataset).where(Dataset.name == name)).first()


def get(session: Session, name: str, owner: str | None = None) -> Dataset:
    """The data set of this name or id, of an owner's and everybody's, or (None) of all. Raises `NotFound`."""
    if dataset := session.scalars(_called(name, owner)).first():
        return dataset
    raise NotFound("data set", name)


def ready(session: Session, name: str, owner: str | None) -> Dataset:
    """The same for a spec: one that is ready, held until the transaction ends. Raises `SpecInvalid`."""
    held = _called(name, owner).with_for_update(read=True, key_share=True)
    dataset = session.scalars(held, execution_options={"populate_existing": True}).first()
    if dataset is None:
        known = names(session, owner)
        more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
        detail = f"There is no data set {name}. There is {', '.join(known[:MOST_NAMED])}{more}."
        raise SpecInvalid([Mistake("/dataset", "unknown_dataset", detail)])
    if dataset.ready_at is None:
        detail = f"The data set {name} is not there yet: its import has not succeeded."
        raise SpecInvalid([Mistake("/dataset", "dataset_not_ready", detail)])
    return dataset


def names(session: Session, owner: str | None) -> Sequence[str]:
    """What a spec of an owner's (None: of whoever sees all) may name."""
    query = select(Dataset.name).where(_seen_by(owner), Dataset.ready_at.is_not(None))
    return session.scalars(query.order_by(Dataset.name)).all()


def page(session: Session, owner: str | None, after: str | None, limit: int) -> tuple[Sequence[Dataset], str | None]:
    """`limit` data sets that an owner sees, None for all, by name, and the cursor after them, None at the end.

    Raises `CursorInvalid`.
    """
    query = select(Dataset).where(_seen_by(owner)).order_by(Dataset.name)
    bound = ["datasets", owner]
    if after is not None:
        (last,) = cursors.decode(bound, after, 1)
        query = query.where(Dataset.name > last)
    found = session.scalars(query.limit(limit + 1)).all()
    following = cursors.encode(bound, [found[limit - 1].name]) if len(found) > limit else None
    return found[:limit], following


def imports(session: Session, dataset_ids: Sequence[str]) -> Mapping[str, Job]:
    """The newest import of each data set that has one."""
    mine = (Job.dataset_id.in_(dataset_ids), Job.kind == Kind.IMPORT)
    newest = select(func.max(Job.id)).where(*mine).group_by(Job.dataset_id)
    return {str(job.dataset_id): job for job in session.scalars(select(Job).where(Job.id.in_(newest)))}


def facts(dataset: Dataset) -> DataFacts:
    """What a spec is checked against, of a data set that is ready."""
    found = manifest(dataset)
    assert found is not None
    assert dataset.sha256 is not None
    return replace(found.facts, name=dataset.name, sha256=dataset.sha256)


def manifest(dataset: Dataset) -> Manifest | None:
    """All that is known of it; None until it is ready."""
    if dataset.ready_at is None or dataset.manifest is None:
        return None
    return Manifest.model_validate(dataset.manifest, strict=False)


def files(session: Session, dataset_id: str) -> tuple[PackFile, ...]:
    """The files of its pack, by name; none of what comes with the package."""
    query = select(DatasetFile).where(DatasetFile.dataset_id == dataset_id).order_by(DatasetFile.name)
    return tuple(PackFile(file.name, file.sha256, file.size) for file in session.scalars(query))


def store_file(session: Session, job: Job, file: PackFile) -> None:
    """Keep a file of what an import makes in place of an earlier one."""
    if job.dataset_id:
        session.merge(DatasetFile(dataset_id=job.dataset_id, **vars(file)))


def store_manifest(session: Session, job: Job, found: Mapping[str, Any]) -> None:
    """Keep what is known of it. It is ready once its job has succeeded."""
    if job.dataset_id:
        _describe(session.get_one(Dataset, job.dataset_id), Manifest.model_validate(dict(found), strict=False))


def forget(session: Session, job: Job) -> None:
    """Remove what an import has stored so far: it will come again, or not."""
    if job.dataset_id is None or session.get_one(Dataset, job.dataset_id).ready_at:
        return
    mine = DatasetFile.dataset_id == job.dataset_id
    hashes = session.scalars(select(DatasetFile.sha256).where(mine)).all()
    session.execute(delete(DatasetFile).where(mine))
    blobs.release(session, hashes)


def give_up(session: Session, job: Job) -> None:
    """An import is to be deleted: the name that it has not filled is free again."""
    if job.dataset_id is None:
        return
    dataset = session.get_one(Dataset, job.dataset_id)
    if dataset.ready_at is None and imports(session, [dataset.id])[dataset.id].id == job.id:
        _remove(session, dataset)


def is_superseded(session: Session, job: Job) -> bool:
    """Whether an import has nothing to make any more: its data set is there, gone, or another import's."""
    if job.dataset_id is None:
        return True
    dataset = session.get_one(Dataset, job.dataset_id)
    return dataset.ready_at is not None or imports(session, [dataset.id])[dataset.id].id != job.id


def remove(session: Session, name: str, owner: str | None) -> None:
    """Delete a data set of this name or id. Raises `NotFound`, `DatasetKept` or `DatasetInUse`."""
    query = _called(name, owner).with_for_update()
    dataset = session.scalars(query, execution_options={"populate_existing": True}).first()
    if dataset is None:
        raise NotFound("data set", name)
    if dataset.owner is None:
        raise DatasetKept(f"The data set {dataset.name} comes with Annealer and is everybody's.")
    importing = imports(session, [dataset.id]).get(dataset.id)
    if importing and not importing.status.is_final:
        raise DatasetKept(f"The data set {dataset.name} is being imported; cancel the job {importing.id} first.")
    needing = select(Job.id).where(Job.dataset_id == dataset.id, Job.kind != Kind.IMPORT).order_by(Job.id)
    if found := session.scalars(needing.limit(MOST_JOBS)).all():
        raise DatasetInUse(dataset.name, found)
    _remove(session, dataset)


def _describe(dataset: Dataset, manifest: Manifest) -> None:
    for name in FACTS:
        value = getattr(manifest.facts, name)
        setattr(dataset, name, list(value) if name == "classes" else value)
    dataset.manifest = manifest.model_dump(mode="json")


def _remove(session: Session, dataset: Dataset) -> None:
    mine = DatasetFile.dataset_id == dataset.id
    hashes = session.scalars(select(DatasetFile.sha256).where(mine)).all()
    session.execute(update(Job).where(Job.dataset_id == dataset.id).values(dataset_id=None))
    session.execute(delete(DatasetFile).where(mine))
    session.execute(delete(Dataset).where(Dataset.id == dataset.id))
    blobs.release(session, hashes)


def _seen_by(owner: str | None) -> ColumnElement[bool]:
    return or_(Dataset.owner.is_(None), Dataset.owner == owner) if owner is not None else Dataset.id.is_not(None)


def _called(name: str, owner: str | None) -> Select[Dataset]:
    """Of several with an id, the oldest."""
    query = select(Dataset).where(_seen_by(owner)).order_by(Dataset.created_at, Dataset.id).limit(1)
    if not name.startswith(ID):
        return query.where(Dataset.name == name)
    digits = name.removeprefix(ID)
    is_it = Dataset.sha256.startswith(digits, autoescape=True) if len(digits) == ID_DIGITS else Dataset.id.is_(None)
    return query.where(is_it, Dataset.ready_at.is_not(None))
