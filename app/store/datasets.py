"""Data sets by name and content."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store import ids
from app.store.errors import NotFound
from app.store.models import Dataset
from trainer.data import DataFacts


def register(session: Session, facts: DataFacts) -> Dataset:
    """Make a data set known; harmless when it is."""
    known = by_name(session, facts.name)
    if known:
        return known
    dataset = Dataset(
        id=ids.new("data"),
        name=facts.name,
        sha256=facts.sha256,
        channels=facts.channels,
        height=facts.height,
        width=facts.width,
        classes=list(facts.classes),
        train_count=facts.train_count,
        validation_count=facts.validation_count,
    )
    session.add(dataset)
    session.flush()
    return dataset


def by_name(session: Session, name: str) -> Dataset | None:
    """The data set of this name, if there is one."""
    return session.scalars(select(Dataset).where(Dataset.name == name)).first()


def get(session: Session, name: str) -> Dataset:
    """The data set of this name. Raises `NotFound`."""
    dataset = by_name(session, name)
    if dataset is None:
        raise NotFound("data set", name)
    return dataset


def all_of_them(session: Session) -> Sequence[Dataset]:
    """Every data set, by name."""
    return session.scalars(select(Dataset).order_by(Dataset.name)).all()


def facts(dataset: Dataset) -> DataFacts:
    """What a spec is checked against."""
    return DataFacts(
        name=dataset.name,
        sha256=dataset.sha256,
        channels=dataset.channels,
        height=dataset.height,
        width=dataset.width,
        classes=tuple(dataset.classes),
        train_count=dataset.train_count,
        validation_count=dataset.validation_count,
    )
