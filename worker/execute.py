"""Runs one attempt: fetches what it goes on from, supervises the child, stores each event, finishes the job.

Three threads share an attempt. The reader empties the pipe, so that neither side can block on it. The keeper
renews the lease and follows what the user wants, however long storing takes. The supervisor, in the thread
that called, stores batches in order and ends the attempt. What the child prints has its own way: `worker.output`.
"""

import errno
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.store import attempts, blobs, claims
from app.store.claims import Claim
from app.store.engine import is_unavailable, retry
from app.store.errors import BlobDamaged, Fenced
from app.store.reports import Failure
from app.store.snapshots import SnapshotRef
from app.store.states import FailureClass, Outcome, Wanted
from trainer.events import CheckpointReady, SnapshotTaken, StepsFinished, TrainingFinished, TrainingStopped
from worker import disk, oom, telemetry
from worker.changes import changes_of
from worker.order import STOP, Order
from worker.output import Output
from worker.spool import Spool
from worker.station import Station
from worker.team import PEER_LOST, Team
from worker.wire import Failed, Message

log = structlog.get_logger()

T = TypeVar("T")
RETRY_SECONDS = 1.0
MOST_IN_A_BATCH = 1000
AWAY_TOO_LONG = "The database was away for too long; the training was stopped"


def work(station: Station) -> None:
    """Run jobs one after another for as long as there is a free slot, a job and no order to stop."""
    while not station.draining.is_set() and (chosen := _choose(station)):
        claim, devices = chosen
        try:
            with structlog.contextvars.bound_contextvars(job=claim.job_id, attempt=claim.attempt):
                Supervisor(station, claim, devices).run()
        finally:
            station.devices.give_back(devices)


def _choose(station: Station) -> tuple[Claim, tuple[str, ...]] | None:
    """The job whose turn it is, with the devices that it asks for, if these are free."""
    with station.devices.choice() as free:
        if not any(free.values()):
            return None
        claim = telemetry.timed_claim(
            lambda: retry(
                station.engine,
                lambda session: claims.claim(
                    session,
                    worker_id=station.id,
                    offers=station.offers,
                    free=free,
                    device=station.device,
                    lease_seconds=station.settings.lease_seconds,
                ),
            )
        )
        return (claim, station.devices.take(claim.spec["device"], claim.spec["devices"])) if claim else None


class Replaced(Exception):
    """The attempt is not ours any more: write nothing."""


class Supervisor:
    """One attempt at a job, from the claim to its end."""

    def __init__(self, station: Station, claim: Claim, devices: tuple[str, ...]) -> None:
        self.station = station
        self.claim = claim
        self.devices = devices
        self.scratch: Path = station.scratch / f"{claim.job_id}-{claim.attempt}"
        self.log = log.bind(job=claim.job_id, attempt=claim.attempt)
        self._output = Output(station, claim)
        self._over = threading.Event()
        self._replaced = threading.Event()
        self._cancelled = threading.Event()
        self._pausing = threading.Event()
        self._timed_out = threading.Event()
        self._lost_patience = threading.Event()
        self._fell_silent = threading.Event()
        self._silent_beats = 0
        self._broken_by: Exception | None = None
        self._claimed_at = time.monotonic()
        self._batches_stored = 0
        self._stop_asked_at: float | None = None
        self._spool: Spool | None = None
        self._team: Team | None = None
        self._team_lock = threading.Lock()
        self._last: Message | None = None

    def run(self) -> None:
        """Run the attempt to its end. Whatever happens, the child is gone and the scratch folder empty after."""
        self.log.info("attempt started", devices=self.devices, from_step=self._first_step)
        keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        keeper.start()
        try:
            self.scratch.mkdir()
            self._spool = Spool(self.scratch, self.station.settings.spool_bytes)
            self._supervise()
        except (Fenced, Replaced):
            self.log.warning("attempt was replaced")
        except Exception as error:
            self.log.exception("attempt broke")
            with suppress(Exception):
                self._finish(self._trouble(error))
        finally:
            self._over.set()
            self._kill()
            if self._team:
                self.station.teams.discard(self._team)
            if self._spool:
                self._spool.close()
            keeper.join()
            self._output.close()
            shutil.rmtree(self.scratch, ignore_errors=True)

    @property
    def _first_step(self) -> int:
        return self.claim.checkpoint.step + 1 if self.claim.checkpoint else 1

    # The supervisor's thread.

    def _supervise(self) -> None:
        kills_before = oom.out_of_memory_kills()
        self._watch_the_time()
        orders = self._orders()
        if orders is None:
            return
        if not self._start(orders):
            self._finish(self._timeout() if self._timed_out.is_set() else None)
            return
        for batch in self._batches():
            self._store(batch)
        assert self._team is not None
        exit_code, failed = self._team.join()
        self._patiently(self._output.drain)
        if failed and (self._last is None or _is_anothers(self._last)):
            self._last = Message(failed)
        if self._has_refused_its_checkpoint:
            self._reject_checkpoint()
            return
        self._finish(self._failure(exit_code, oom.out_of_memory_kills() > kills_before))

    def _orders(self) -> list[Order] | None:
        """What each child is to do, with the files that the first goes on from fetched and checked.

        None where one of them is damaged: the attempt is over then, and the next goes on from an earlier one.
        """
        claim, settings = self.claim, self.station.settings
        checkpoint = None
        if claim.checkpoint:
            try:
                checkpoint = self._fetch(claim.checkpoint.sha256, "resume.safetensors")
            except BlobDamaged:
                self._reject_checkpoint()
                return None
        snapshots = []
        for taken in claim.snapshots:
            try:
                snapshots.append(self._fetch(taken.sha256, f"resume-snapshot-{taken.number}.safetensors"))
            except BlobDamaged:
                self._reject_snapshot(taken)
                return None
        count = len(self.devices)
        return [
            Order(
                spec=claim.spec_json,
                dataset=claim.dataset,
                dataset_sha256=claim.dataset_sha256,
                device=device,
                rank=rank,
                count=count,
                meeting=self.scratch / "meeting",
                threads=max(1, settings.threads_per_job // count),
                scratch=self.scratch,
                checkpoint=checkpoint if rank == 0 else None,
                snapshots=tuple(snapshots) if rank == 0 else (),
                checkpoint_seconds=settings.checkpoint_seconds,
                report_seconds=settings.report_seconds,
            )
            for rank, device in enumerate(self.devices)
        ]

    def _fetch(self, sha256: str, name: str) -> Path:
        path = self.scratch / name
        self._patiently(lambda: blobs.fetch(self.station.engine, sha256, path))
        return path

    def _start(self, orders: list[Order]) -> bool:
        """Start the children, unless the attempt is already to end."""
        with self._team_lock:
            if self._is_ending:
                return False
            self._team = Team(orders, self._output.end)
            self._output.begin()
            self.station.teams.add(self._team)
            return True

    def _batches(self) -> Iterator[list[Message]]:
        """What the child reports until its pipe ends: as it comes, once it trains every `report_seconds`."""
        assert self._spool is not None
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        next_at = 0.0
        while (batch := self._spool.take(MOST_IN_A_BATCH)) is not None:
            while len(batch) < MOST_IN_A_BATCH and (wait := next_at - time.monotonic()) > 0:
                more = self._spool.take(MOST_IN_A_BATCH - len(batch), timeout=wait)
                if more is None:
                    break
                batch.extend(more)
            if any(isinstance(message.event, StepsFinished) for message in batch):
                next_at = time.monotonic() + self.station.settings.report_seconds
            yield batch
            self._spool.stored(len(batch))

    def _read(self) -> None:
        assert self._team is not None
        assert self._spool is not None
        try:
            while (data := self._team.receive()) is not None:
                self._silent_beats = 0
                self._spool.put(data)
        except Exception as error:
            self.log.exception("report cannot be kept")
            self._broken_by = error
            self._kill()
        finally:
            self._spool.end()

    def _store(self, batch: list[Message]) -> None:
        """One transaction for the batch; the training's last word waits for the transaction that ends the job."""
        self._batches_stored += 1
        self._patiently(lambda: self._record(batch, self._batches_stored))
        # Only now: a training counts as finished when all that it reported is stored.
        if isinstance(batch[-1].event, Failed | TrainingFinished | TrainingStopped):
            self._last = batch[-1]
        for message in batch:
            if message.file:
                (self.scratch / message.file).unlink(missing_ok=True)

    def _record(self, batch: list[Message], number: int) -> None:
        files = [
            message.file
            for message in batch
            if message.file and isinstance(message.event, SnapshotTaken | CheckpointReady)
        ]
        if files:
            # Blobs know no attempts: who has been replaced is to write none.
            self._renew()
        hashes = {file: blobs.put(self.station.engine, self.scratch / file) for file in files}
        changes = changes_of(batch, hashes)
        retry(
            self.station.engine,
            lambda session: attempts.record(
                session, self.claim.job_id, self.claim.attempt, self.station.settings.lease_seconds, changes, number
            ),
        )

    def _patiently(self, act: Callable[[], T]) -> T:
        """Do it again while the database is away. Past the operator's patience the training stops; we still wait."""
        deadline = time.monotonic() + self.station.settings.store_patience_seconds
        while True:
            if self._replaced.is_set():
                raise Replaced
            try:
                return act()
            except IntegrityError:
                # A blob that was there already was collected before this attempt could refer to it.
                self.log.info("storing once more", exc_info=True)
                return act()
            except Exception as error:
                if not is_unavailable(error):
                    raise
                self.log.warning("database is away", error=type(error).__name__)
            if time.monotonic() > deadline:
                self._lost_patience.set()
            self._over.wait(RETRY_SECONDS)

    # How it ends.

    def _finish(self, failure: Failure | None) -> None:
        """Close the attempt and move the job in one transaction."""
        job_id, attempt = self.claim.job_id, self.claim.attempt
        is_done = self._last is not None and isinstance(self._last.event, TrainingFinished)
        why = AWAY_TOO_LONG if self._lost_patience.is_set() else attempts.STOPPED
        self._end(lambda session: attempts.finish(session, job_id, attempt, is_done=is_done, failure=failure, why=why))

    def _end(self, act: Callable[[Session], Outcome]) -> None:
        """Do what ends the attempt, once: where an answer was lost, what it said is found in the database."""

        def once(session: Session) -> Outcome:
            return attempts.ended(session, self.claim.job_id, self.claim.attempt) or act(session)

        outcome = self._patiently(lambda: retry(self.station.engine, once))
        self.log.info("attempt ended", outcome=outcome)
        telemetry.ATTEMPTS.labels(outcome).inc()
        if outcome in (Outcome.RELEASED, Outcome.CRASHED):
            self.station.bell.ring(self.claim.spec["device"])

    def _failure(self, exit_code: int, out_of_memory: bool) -> Failure | None:
        """What the child's end means; None where it was asked to stop or has done everything."""
        event = self._last.event if self._last else None
        if isinstance(event, TrainingFinished):
            return None
        if self._timed_out.is_set():
            return self._timeout()
        if isinstance(event, TrainingStopped) or self._is_ending:
            return None
        if isinstance(event, Failed) and not (exit_code and event.code == PEER_LOST):
            failure_class = FailureClass(event.failure_class)
            if failure_class is FailureClass.INFRASTRUCTURE:
                self.log.error("training broke", code=event.code, output=self._output.tail)
            return Failure(failure_class, event.code, event.message, event.detail, event.hint, event.step)
        if self._broken_by:
            return self._trouble(self._broken_by)
        if self._fell_silent.is_set():
            seconds = self.station.settings.silence_seconds
            told = f"The training process reported nothing for {seconds:g} seconds and was ended."
            return _broken("child_silent", told)
        return self._crash(exit_code, out_of_memory)

    def _trouble(self, error: Exception) -> Failure:
        """What has gone wrong in this process."""
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return _broken("disk_full", disk.full(self.station.scratch))
        return _broken("supervisor_error", "The worker met an unexpected error; its log has the details.")

    def _crash(self, exit_code: int, out_of_memory: bool) -> Failure:
        self.log.warning("child died", exit_code=exit_code, output=self._output.tail)
        if out_of_memory and exit_code == -9:
            hint = "Lower batch_size, make the network smaller or give the worker more memory."
            message = "The system killed the training because the machine ran out of memory."
            return Failure(FailureClass.OUT_OF_MEMORY, "out_of_memory", message, {}, hint, None)
        how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        return _broken(f"child_{how.replace(' ', '_')}", f"The training process ended with {how}.")

    def _timeout(self) -> Failure:
        limit = self.claim.max_runtime
        message = f"The job has run for the {limit:g} seconds that its max_runtime allows."
        hint = "Retry it to go on from its last checkpoint for as long again, or submit it with a higher max_runtime."
        return Failure(FailureClass.TIMEOUT, "max_runtime", message, {"max_runtime": limit}, hint, None)

    @property
    def _has_refused_its_checkpoint(self) -> bool:
        event = self._last.event if self._last else None
        return isinstance(event, Failed) and event.code == "checkpoint_damaged" and self.claim.checkpoint is not None

    def _reject_checkpoint(self) -> None:
        checkpoint = self.claim.checkpoint
        assert checkpoint is not None
        self.log.warning("checkpoint is damaged", step=checkpoint.step)
        job_id, attempt = self.claim.job_id, self.claim.attempt
        self._end(lambda session: attempts.reject_checkpoint(session, job_id, attempt, checkpoint))

    def _reject_snapshot(self, snapshot: SnapshotRef) -> None:
        self.log.warning("snapshot is damaged", number=snapshot.number)
        job_id, attempt = self.claim.job_id, self.claim.attempt
        self._end(lambda session: attempts.reject_snapshot(session, job_id, attempt, snapshot))

    # The keeper's thread.

    @property
    def _is_ending(self) -> bool:
        reasons = (self._cancelled, self._replaced, *self._reasons_to_stop)
        return any(reason.is_set() for reason in reasons)

    @property
    def _reasons_to_stop(self) -> tuple[threading.Event, ...]:
        """Why the training is to make a checkpoint and end."""
        return self._pausing, self._timed_out, self._lost_patience, self.station.draining

    def _keep(self) -> None:
        """Renew the lease and follow the user's wish until the attempt is over."""
        while not self._over.wait(self.station.settings.beat_seconds):
            self._watch_the_time()
            self._listen_for_silence()
            if any(reason.is_set() for reason in self._reasons_to_stop):
                self._ask_to_stop()
            try:
                wanted = self._renew()
            except Fenced:
                self._replaced.set()
                self._kill()
                return
            except Exception as error:
                if not is_unavailable(error):
                    self.log.exception("lease could not be renewed")
                continue
            if wanted is Wanted.CANCEL:
                self._cancelled.set()
                self._kill()
            elif wanted is Wanted.PAUSE:
                self._pausing.set()
                self._ask_to_stop()

    def _listen_for_silence(self) -> None:
        """End a training that hangs. Time is counted in beats, so that nobody seems silent who could not be heard."""
        if self._team is None or self._spool is None or self._spool.is_full:
            return
        self._silent_beats += 1
        if self._silent_beats * self.station.settings.beat_seconds > self.station.settings.silence_seconds:
            self._fell_silent.set()
            self._kill()

    def _watch_the_time(self) -> None:
        left = self.claim.seconds_left
        if left is not None and time.monotonic() - self._claimed_at >= left:
            self._timed_out.set()

    def _renew(self) -> Wanted:
        claim = self.claim
        return retry(
            self.station.engine,
            lambda session: attempts.renew(session, claim.job_id, claim.attempt, self.station.settings.lease_seconds),
        )

    def _ask_to_stop(self) -> None:
        """Ask for a checkpoint and an end; past the grace, end it: the last checkpoint stands."""
        with self._team_lock:
            if self._team is None:
                return
            if self._stop_asked_at is None:
                self._stop_asked_at = time.monotonic()
                with suppress(OSError):
                    self._team.connection.send_bytes(STOP)
            elif time.monotonic() - self._stop_asked_at > self.station.settings.checkpoint_grace_seconds:
                self._team.kill()

    def _kill(self) -> None:
        with self._team_lock:
            if self._team is not None:
                self._team.kill()


def _is_anothers(message: Message) -> bool:
    return isinstance(message.event, Failed) and message.event.code == PEER_LOST


def _broken(code: str, message: str) -> Failure:
    return Failure(FailureClass.INFRASTRUCTURE, code, message, {}, None, None)
