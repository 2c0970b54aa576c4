"""The store as tests use it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, delete
from sqlalchemy.orm import Session

from app.store import attempts, candidates, claims, datasets, ensembles, jobs
from app.store import snapshots as taken
from app.store.claims import Claim
from app.store.clock import now
from app.store.engine import read, write
from app.store.jobs import Idempotency
from app.store.models import Attempt, Blob, Dataset, Ensemble, Job, Upload, Worker
from app.store.reports import Changes
from app.store.snapshots import NewSnapshot
from app.store.states import Wanted
from tests.specs import spec
from trainer.events import Scores
from trainer.offer import Offer
from trainer.parsing import parse_as
from trainer.spec.scoring import ScoringSpec

ANY = frozenset({"float32", "bfloat16", "float16"})
ONE = Offer(1, ANY)
ONE_CPU = {"auto": ONE, "cpu": ONE}
ONE_FREE = {"auto": 1, "cpu": 1}


def clear(session: Session) -> None:
    """Forget everything but the data sets that come with the package."""
    session.execute(delete(Attempt))  # before their jobs: a worker that still runs one locks them in that order
    session.execute(delete(Job))
    session.execute(delete(Upload))
    session.execute(delete(Dataset).where(Dataset.owner.is_not(None)))
    session.execute(delete(Blob))
    session.execute(delete(Worker))


class Shop:
    """A database with a data set; each call is a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def submit(
        self,
        *,
        key: str | None = None,
        request: str = "r",
        max_attempts: int = 5,
        options: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Job:
        """Queue a job; `options` are those of `jobs.submit`, `changes` those of the spec."""
        with write(self.engine) as session:
            dataset = datasets.get(session, "mnist5k")
            job, _ = jobs.submit(
                session,
                spec(**changes),
                dataset,
                steps_per_epoch=10,
                max_attempts=max_attempts,
                idempotency=Idempotency(key, request) if key else None,
                **(options or {}),
            )
            return job

    def claim(
        self, *, offers: Mapping[str, Offer] = ONE_CPU, free: int | None = None, lease: float = 60.0
    ) -> Claim | None:
        """Take the next job as a worker does that has so many devices free, or all."""
        left = {kind: offer.devices if free is None else free for kind, offer in offers.items()}
        options: dict[str, Any] = {"offers": offers, "free": left, "device": "cpu"}
        with write(self.engine) as session:
            return claims.claim(session, worker_id="work_1", lease_seconds=lease, **options)

    def claimed(self, *, lease: float = 60.0, **changes: Any) -> Claim:
        """A new job that is running."""
        self.submit(**changes)
        claim = self.claim(lease=lease)
        assert claim is not None
        return claim

    def trained(
        self,
        *,
        snapshots: int = 2,
        provenance: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        end: bool = True,
        **changes: Any,
    ) -> Claim:
        """A training with snapshots whose weights are nothing, in the end a success; `provenance` changes theirs."""
        claim = self.claimed(options=options, **changes)
        known = {
            "classes": list("0123456789"),
            "input_shape": [1, 28, 28],
            "dataset": {"name": "mnist5k"},
            **(provenance or {}),
        }
        with write(self.engine) as session:
            session.merge(Blob(sha256="0" * 64, size=1, stored_at=now()))
        scores = Scores(0.9, 0.1, 0.3)
        numbers = range(1, snapshots + 1)
        self.record(
            claim, snapshots=[NewSnapshot(number, number, 10 * number, scores, known, "0" * 64) for number in numbers]
        )
        if end:
            self.act(attempts.succeed, claim.job_id, claim.attempt)
        return claim

    def snapshots(self, *claims: Claim) -> list[str]:
        """Ids of all snapshots of trainings, in order."""
        return [id for claim in claims for id in self.snapshots_of(claim.job_id)]

    def snapshots_of(self, job_id: str) -> list[str]:
        """Ids of a training's snapshots, in order."""
        with read(self.engine) as session:
            return [one.id for one in taken.of_job(session, job_id)]

    def ensemble(self, ids: Sequence[str], *, owner: str = "default", **changes: Any) -> Ensemble:
        """An ensemble of snapshots, whose scoring waits in the queue."""
        document = {"name": "together", "members": {"kind": "snapshots", "ids": list(ids)}} | changes
        spec = parse_as(ScoringSpec, json.dumps(document))
        with write(self.engine) as session:
            found = [place.snapshot for place in candidates.find(session, spec, None)]
            dataset = datasets.get(session, "mnist5k")
            made, _ = ensembles.make(session, spec, dataset, found, owner=owner, max_attempts=5)
            return made

    def record(self, claim: Claim, **changes: Any) -> Wanted:
        """Store what a training has reported, as the attempt's next batch."""
        with write(self.engine) as session:
            known = session.get(Attempt, (claim.job_id, claim.attempt))
            batch = known.batch + 1 if known else 1
            return attempts.record(session, claim.job_id, claim.attempt, 60.0, Changes(**changes), batch)

    def job(self, job_id: str) -> Job:
        """The job as it is now."""
        with read(self.engine) as session:
            job = jobs.get(session, job_id)
            session.expunge(job)
            return job

    def act(self, function: Any, *arguments: Any) -> Any:
        """Call a function of the store in a transaction."""
        with write(self.engine) as session:
            return function(session, *arguments)

    def look(self) -> Any:
        """A session to read in."""
        return read(self.engine)
