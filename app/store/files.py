"""Files that jobs were asked for: tables of predictions, exported networks."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.errors import NotFound
from app.store.models import JobFile


@dataclass(frozen=True)
class NewFile:
    """A file whose content is stored in the blob `sha256`."""

    name: str
    media_type: str
    size: int
    sha256: str


def store(session: Session, job_id: str, new: NewFile) -> None:
    """Keep a file of a job in place of an earlier one."""
    session.merge(JobFile(job_id=job_id, **asdict(new)))


def of_job(session: Session, job_id: str) -> Sequence[JobFile]:
    """What a job has made, by name."""
    return session.scalars(select(JobFile).where(JobFile.job_id == job_id).order_by(JobFile.name)).all()


def get(session: Session, job_id: str, name: str) -> JobFile:
    """One of them. Raises `NotFound`."""
    found = session.get(JobFile, (job_id, name))
    if found is None:
        raise NotFound("file", name)
    return found
