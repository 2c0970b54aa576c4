"""A running service as its users and its database tell of it, whatever it runs on."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, select

from app.client import Client
from app.store.engine import read, write
from app.store.models import Attempt, Event, Job
from app.store.states import Status
from tests.servers import await_true
from tests.specs import document

SECONDS = 120.0
"""For what comes sooner unless it never comes."""

TINY: dict[str, Any] = document(
    network={"kind": "convnet", "channels": [8], "batch_norm": {}, "dropout": {"drop": 0.2}},
    augmentation=[{"kind": "random_crop", "padding": 2}],
    schedule={"kind": "snapshot_cycles", "learning_rate": 0.05, "cycles": 3},
    optimizer={"kind": "sgd", "momentum": {"form": "averaged"}},
    epochs=9,
    batch_size=125,
)
"""Trains for a second or two, with everything in it that could differ after a restart."""

LONGER = TINY | {"name": "longer", "epochs": 24}
"""For what has to happen before its end."""

ENDLESS = TINY | {"name": "endless", "epochs": 3000}


class Service:
    """The client goes the way that users go, the engine straight to the database."""

    def __init__(self, engine: Engine, client: Client) -> None:
        self.engine = engine
        self.client = client

    def submit(self, spec: dict[str, Any] = TINY, **changes: Any) -> str:
        """Queue a job through the API; its id."""
        return self.client.submit(spec | changes).id

    def status(self, job_id: str) -> Status:
        """What the job is."""
        return self.job(job_id).status

    def job(self, job_id: str) -> Job:
        """The job as the database has it."""
        with read(self.engine) as session:
            job = session.get_one(Job, job_id)
            session.expunge(job)
            return job

    def attempts(self, job_id: str) -> list[Attempt]:
        """Its attempts in order."""
        with read(self.engine) as session:
            found = session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)).all()
            session.expunge_all()
            return list(found)

    def events(self, job_id: str) -> list[Event]:
        """Its history."""
        with read(self.engine) as session:
            found = session.scalars(select(Event).where(Event.job_id == job_id).order_by(Event.number)).all()
            session.expunge_all()
            return list(found)

    def story(self, job_id: str) -> str:
        """Its history as an operator reads it, a sentence a line."""
        return "\n".join(event.message for event in self.events(job_id))

    def await_epoch(self, job_id: str, epoch: int) -> None:
        """Wait until the job is in an epoch, and so has the checkpoint of the one before."""
        await_true(lambda: self.job(job_id).epoch >= epoch, SECONDS)

    def await_status(self, job_id: str, wanted: Status, seconds: float = SECONDS) -> None:
        """Wait until the job is what it should be."""
        await_true(lambda: self.status(job_id) is wanted, seconds)

    def await_final(self, *job_ids: str, seconds: float = SECONDS) -> None:
        """Wait until all are final."""
        await_true(lambda: all(self.status(job_id).is_final for job_id in job_ids), seconds)

    def recovered(self, job_id: str, since: float) -> float:
        """Seconds from `since` (time.time()) until the job was taken up again, once it has been."""

        def after() -> list[datetime]:
            events = self.events(job_id)
            return [
                event.created_at for event in events if event.kind == "resumed" and event.created_at.timestamp() > since
            ]

        await_true(lambda: bool(after()), SECONDS)
        return after()[0].timestamp() - since

    def act(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of the store in a transaction."""
        with write(self.engine) as session:
            return function(session, *arguments)
