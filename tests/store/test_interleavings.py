"""No interleaving of what two workers, the sweep and users do to jobs breaks a rule: checked against a model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, func, select, update

from app.store import attempts, blobs, claims, events, jobs, metrics, sweep, wishes
from app.store.checkpoints import CheckpointRef
from app.store.claims import Claim
from app.store.clock import ago
from app.store.errors import Fenced, MoveRefused
from app.store.models import Attempt, Checkpoint, Job
from app.store.reports import Changes, Failure, Progress
from app.store.states import FailureClass, Outcome, Status, Wanted
from tests.shop import ONE_CPU, ONE_FREE, Shop

MAX_ATTEMPTS = 3
WORKERS = ("work_1", "work_2")
LEASE = 60.0


@dataclass
class Model:
    """What a job should be."""

    priority: int
    status: Status = Status.QUEUED
    wanted: Wanted = Wanted.RUN
    first_attempt: int = 1
    retried_from: str | None = None
    outcomes: list[Outcome | None] = field(default_factory=list)
    failures: list[tuple[str, int] | None] = field(default_factory=list)
    checkpoints: list[int] = field(default_factory=list)
    step: int = 0
    version: int = 0

    @property
    def is_running(self) -> bool:
        return bool(self.outcomes) and self.outcomes[-1] is None

    def claim(self) -> None:
        self.status = Status.RUNNING
        self.step = max(self.checkpoints, default=0)
        self.outcomes.append(None)
        self.failures.append(None)

    def close(self, outcome: Outcome, status: Status) -> None:
        self.outcomes[-1] = outcome
        self.move(status)

    def move(self, status: Status) -> None:
        self.status = status
        if status.is_final:
            self.checkpoints = [] if status is Status.SUCCEEDED else self.checkpoints[-1:]
            if self.wanted is Wanted.PAUSE:
                self.wanted = Wanted.RUN

    def fail(self, outcome: Outcome, code: str | None) -> None:
        """A failure of the machinery: tried again, unless something speaks against it."""
        self.outcomes[-1] = outcome
        self.failures[-1] = (code, self.step) if code else None
        counted = self.failures[self.first_attempt - 1 :]
        repeated = code is not None and len(counted) > 1 and counted[-1] == counted[-2]
        used = sum(one is not Outcome.RELEASED for one in self.outcomes[self.first_attempt - 1 :])
        if repeated:
            self.move(Status.FAILED)
        elif self.wanted is Wanted.CANCEL:
            self.move(Status.CANCELLED)
        elif used >= MAX_ATTEMPTS:
            self.move(Status.FAILED)
        else:
            self.move(Status.PAUSED if self.wanted is Wanted.PAUSE else Status.QUEUED)


class Interleavings(RuleBasedStateMachine):
    """Two workers and some users, one transaction at a time, in any order."""

    claimed: Bundle[Claim] = Bundle("claimed")

    def __init__(self, shop: Shop, file: Path) -> None:
        super().__init__()
        self.shop = shop
        self.file = file
        self.models: dict[str, Model] = {}
        self.expired: set[str] = set()
        shop.act(lambda session: session.execute(delete(Job)))

    def job_ids(self) -> list[str]:
        return sorted(self.models)

    def holds(self, claim: Claim) -> bool:
        model = self.models.get(claim.job_id)
        return model is not None and model.is_running and len(model.outcomes) == claim.attempt

    def refused(self, kind: type[Exception], function: Callable[..., Any], *arguments: Any) -> bool:
        try:
            self.shop.act(function, *arguments)
        except kind:
            return True
        return False

    @rule(priority=st.sampled_from([0, 0, 1]))
    @precondition(lambda self: len(self.models) < 3)
    def submit(self, priority: int) -> None:
        job = self.shop.submit(max_attempts=MAX_ATTEMPTS, priority=priority)
        self.models[job.id] = Model(priority)

    @rule(target=claimed, worker=st.sampled_from(WORKERS))
    def claim(self, worker: str) -> Any:
        options: dict[str, Any] = {"offers": ONE_CPU, "free": ONE_FREE, "device": "cpu", "lease_seconds": LEASE}
        claim = self.shop.act(lambda session: claims.claim(session, worker_id=worker, **options))
        queued = [(-model.priority, id) for id, model in self.models.items() if model.status is Status.QUEUED]
        assert (claim.job_id if claim else None) == min(queued, default=(0, None))[1]
        if claim is None:
            return multiple()
        model = self.models[claim.job_id]
        assert (claim.checkpoint.step if claim.checkpoint else None) == max(model.checkpoints, default=None)
        model.claim()
        self.expired.discard(claim.job_id)
        return claim

    @rule(claim=claimed)
    def heartbeat(self, claim: Claim) -> None:
        assert self.refused(Fenced, attempts.renew, claim.job_id, claim.attempt, LEASE) != self.holds(claim)
        if self.holds(claim):
            self.expired.discard(claim.job_id)

    @rule(claim=claimed, steps=st.integers(1, 4), checkpoint=st.booleans(), times=st.integers(1, 2))
    def record(self, claim: Claim, steps: int, checkpoint: bool, times: int) -> None:
        holds = self.holds(claim)
        first = (self.models[claim.job_id].step if holds else 0) + 1
        last = first + steps - 1
        # A delete may have removed the content of all checkpoints, which is the same here.
        sha256 = blobs.put(self.shop.engine, self.file)
        changes = Changes(
            progress=Progress(1, last, 1.0),
            series={"loss": (list(range(first, last + 1)), [0.5] * steps)},
            checkpoints=[CheckpointRef(last, 1, sha256)] if checkpoint else [],
            events=[("note", "Something happened.", {})],
        )
        with self.shop.look() as session:
            known = session.get(Attempt, (claim.job_id, claim.attempt))
            batch = known.batch + 1 if known else 1
        for _ in range(times):
            before = self.event_count(claim.job_id)
            arguments = (claim.job_id, claim.attempt, LEASE, changes, batch)
            assert self.refused(Fenced, attempts.record, *arguments) != holds
        if times == 2:
            assert self.event_count(claim.job_id) == before
        if holds:
            model = self.models[claim.job_id]
            model.step = last
            model.checkpoints = (model.checkpoints + [last] * checkpoint)[-2:]
            self.expired.discard(claim.job_id)

    @rule(claim=claimed, how=st.sampled_from(["done", "stopped", "crashed", "invalid"]))
    def finish(self, claim: Claim, how: str) -> None:
        failure_class = FailureClass.USER if how == "invalid" else FailureClass.INFRASTRUCTURE
        failure = Failure(failure_class, how, "It went wrong.") if how in ("crashed", "invalid") else None
        options: dict[str, Any] = {"is_done": how == "done", "failure": failure}

        def act(session: Any) -> None:
            attempts.finish(session, claim.job_id, claim.attempt, **options)

        assert self.refused(Fenced, act) != self.holds(claim)
        if not self.holds(claim):
            return
        self.expired.discard(claim.job_id)
        model = self.models[claim.job_id]
        if model.wanted is Wanted.CANCEL:
            model.close(Outcome.CANCELLED, Status.CANCELLED)
        elif how == "done":
            model.close(Outcome.SUCCEEDED, Status.SUCCEEDED)
        elif how == "invalid":
            model.close(Outcome.FAILED, Status.FAILED)
        elif how == "crashed":
            model.fail(Outcome.CRASHED, how)
        else:
            model.close(Outcome.RELEASED, Status.PAUSED if model.wanted is Wanted.PAUSE else Status.QUEUED)

    @rule(claim=claimed)
    def ask_how_it_ended(self, claim: Claim) -> None:
        model = self.models.get(claim.job_id)
        outcome = model.outcomes[claim.attempt - 1] if model else Outcome.LOST
        if outcome is Outcome.LOST:
            assert self.refused(Fenced, attempts.ended, claim.job_id, claim.attempt)
        else:
            assert self.shop.act(attempts.ended, claim.job_id, claim.attempt) is outcome

    @rule(claim=claimed)
    def fall_silent(self, claim: Claim) -> None:
        if self.holds(claim):
            past = update(Attempt).where(Attempt.job_id == claim.job_id, Attempt.number == claim.attempt)
            self.shop.act(lambda session: session.execute(past.values(lease_expires_at=ago(1))))
            self.expired.add(claim.job_id)

    @rule()
    def rescue(self) -> None:
        rescued = {job_id for job_id, _, _ in self.shop.act(sweep.rescue)}
        assert rescued == self.expired
        for job_id in rescued:
            self.models[job_id].fail(Outcome.LOST, None)
        self.expired.clear()
        assert self.shop.act(sweep.rescue) == []

    @rule(data=st.data(), wish=st.sampled_from(["cancel", "pause", "resume", "checkpoint", "start"]))
    @precondition(lambda self: self.models)
    def wish(self, data: st.DataObject, wish: str) -> None:
        job_id = data.draw(st.sampled_from(self.job_ids()))
        model = self.models[job_id]
        is_open, is_ending = not model.status.is_final, model.is_running and model.wanted is Wanted.CANCEL
        match wish:
            case "cancel":
                allowed = is_open or model.status is Status.CANCELLED
                assert self.refused(MoveRefused, wishes.cancel, job_id) != allowed
                if is_open:
                    model.wanted = Wanted.CANCEL
                    if not model.is_running:
                        model.move(Status.CANCELLED)
            case "pause":
                allowed = is_open and not is_ending
                assert self.refused(MoveRefused, wishes.pause, job_id) != allowed
                if allowed:
                    model.wanted = Wanted.PAUSE
                    model.status = Status.RUNNING if model.is_running else Status.PAUSED
            case "resume":
                allowed = is_open and not is_ending
                assert self.refused(MoveRefused, wishes.resume, job_id) != allowed
                if allowed:
                    model.wanted = Wanted.RUN
                    model.status = Status.RUNNING if model.is_running else Status.QUEUED
            case _:
                again = is_open and not is_ending and model.first_attempt > 1 and model.retried_from == wish
                makes_one = model.status in (Status.FAILED, Status.CANCELLED)
                assert self.refused(MoveRefused, wishes.retry, job_id, wish) != (again or makes_one)
                if makes_one:
                    model.checkpoints = [] if wish == "start" else model.checkpoints
                    model.step = max(model.checkpoints, default=0)
                    model.first_attempt = len(model.outcomes) + 1
                    model.retried_from = wish
                    model.status, model.wanted = Status.QUEUED, Wanted.RUN

    @rule(data=st.data())
    @precondition(lambda self: self.models)
    def delete(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(self.job_ids()))
        is_final = self.models[job_id].status.is_final
        assert self.refused(MoveRefused, jobs.delete, job_id) != is_final
        if is_final:
            del self.models[job_id]

    @rule(claim=consumes(claimed))
    def forget(self, claim: Claim) -> None:
        """A worker that is gone asks no more."""

    @invariant()
    def the_database_is_as_the_model_says(self) -> None:
        with self.shop.look() as session:
            rows = {job.id: job for job in session.scalars(select(Job))}
            assert rows.keys() == self.models.keys()
            for job_id, model in self.models.items():
                job = rows[job_id]
                found = (job.status, job.wanted, job.attempt, job.first_attempt)
                assert found == (model.status, model.wanted, len(model.outcomes), model.first_attempt)
                assert job.version >= model.version
                model.version = job.version
                outcomes = select(Attempt.outcome).where(Attempt.job_id == job_id).order_by(Attempt.number)
                assert session.scalars(outcomes).all() == model.outcomes
                assert model.outcomes.count(None) == (model.status is Status.RUNNING)
                kept = select(Checkpoint.step).where(Checkpoint.job_id == job_id).order_by(Checkpoint.step)
                assert session.scalars(kept).all() == model.checkpoints
                told = [event.number for event in events.after(session, job_id, 0, 1000)]
                assert told == list(range(1, job.event_count + 1))
                steps = metrics.series(session, job_id, "loss").steps.tolist()
                assert steps == list(range(1, len(steps) + 1))
                assert len(steps) == model.step or not model.is_running

    def event_count(self, job_id: str) -> int | None:
        with self.shop.look() as session:
            return session.scalar(select(func.max(Job.event_count)).where(Job.id == job_id))


def test_no_interleaving_breaks_a_rule(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    file.write_bytes(b"checkpoint")

    run_state_machine_as_test(
        lambda: Interleavings(shop, file),
        settings=settings(
            max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
