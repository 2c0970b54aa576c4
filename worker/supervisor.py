"""Runs one attempt: fetches what it goes on from, starts its processes, stores what they report, ends the attempt.

Three threads share an attempt. The reader empties the pipe, so that neither side can block on it. The keeper
(`worker.keeper`) renews the lease and follows what the user wants, however long storing takes. The supervisor, in the
thread that called, stores batches in order and ends the attempt. What the processes print has its own way:
`worker.output`. Where "the training" is said, the same holds of jobs of every kind.
"""

import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import structlog

from app.store import attempts
from app.store.checkpoints import CheckpointRef
from app.store.claims import Claim
from app.store.errors import BlobDamaged, Fenced
from app.store.reports import Failure
from app.store.snapshots import SnapshotRef
from app.store.states import FailureClass, Kind
from trainer.events import Advanced, StepsFinished, TaskFinished, TaskStopped, TrainingFinished, TrainingStopped
from worker import failure, oom, preparation
from worker.keeper import Keeper
from worker.ledger import Ledger, Replaced
from worker.order import Order
from worker.output import Output
from worker.preparation import Damaged, MemberGone, UploadUnfit
from worker.spool import Spool
from worker.station import Station
from worker.team import PEER_LOST, Team
from worker.wire import Failed, Message

log = structlog.get_logger()

MOST_IN_A_BATCH = 1000
AWAY_TOO_LONG = "The database was away for too long; the {kind} was stopped"
DRAINED = "An operator drained the worker; the {kind} was stopped"
Finished = TrainingFinished | TaskFinished
Stopped = TrainingStopped | TaskStopped


class Supervisor:
    """One attempt at a job, from the claim to its end."""

    def __init__(self, station: Station, claim: Claim, devices: tuple[str, ...]) -> None:
        self.station = station
        self.claim = claim
        self.devices = devices
        self.scratch: Path = station.scratch / f"{claim.job_id}-{claim.attempt}"
        self._ledger = Ledger(station, claim)
        self._keeper = Keeper(station, claim, self._ledger)
        self._output = Output(station, claim)
        self._last: Message | None = None
        self._broken_by: Exception | None = None

    def run(self) -> None:
        """Run the attempt to its end. Whatever happens, the training is gone and the scratch folder empty after."""
        log.info("attempt started", devices=self.devices, from_step=self._first_step)
        self._keeper.start()
        try:
            self.scratch.mkdir()
            self._supervise()
        except (Fenced, Replaced):
            log.warning("attempt was replaced")
        except Exception as error:
            log.exception("attempt broke")
            with suppress(Exception):
                self._finish(failure.of_the_worker(error, self.station.scratch))
        finally:
            self._keeper.close()
            self._output.close()
            shutil.rmtree(self.scratch, ignore_errors=True)

    @property
    def _first_step(self) -> int:
        return self.claim.checkpoint.step + 1 if self.claim.checkpoint else 1

    def _supervise(self) -> None:
        kills_before = oom.out_of_memory_kills()
        with ExitStack() as held:
            if (orders := self._orders(held)) is not None:
                self._run(orders, kills_before)

    def _run(self, orders: list[Order], kills_before: int) -> None:
        with closing(Spool(self.scratch, self.station.settings.spool_bytes)) as spool:
            team = self._keeper.watch(lambda: Team(orders, self._output.end), spool)
            if team is None:
                self._finish(self._timeout if self._keeper.timed_out.is_set() else None)
                return
            exit_code, failed = self._follow(team, spool)
        self._ledger.patiently(self._output.drain)
        if failed and (self._last is None or _is_anothers(self._last)):
            self._last = Message(failed)
        if self._has_refused_its_checkpoint:
            self._reject_checkpoint()
            return
        self._finish(self._failure(exit_code, kills_before))

    # What it goes on from.

    def _orders(self, held: ExitStack) -> list[Order] | None:
        """What each process is to do, with the files that the first goes on from fetched and checked.

        None where one of them is damaged: the attempt is over then, and the next goes on from an earlier one. The data
        set stays where it is until `held` is closed.
        """
        settings, count = self.station.settings, len(self.devices)
        try:
            pack = self._pack(held)
            tasks = preparation.tasks(self.claim, settings, self._ledger, self.scratch, pack, count)
        except Damaged as damaged:
            self._reject(damaged.ref)
            return None
        except MemberGone:
            self._finish(failure.member_gone())
            return None
        except UploadUnfit as unfit:
            self._finish(failure.upload_unfit(unfit.upload))
            return None
        except BlobDamaged:
            assert self.claim.dataset is not None
            self._finish(failure.dataset_damaged(self.claim.dataset.name))
            return None
        return [
            Order(
                task=task,
                device=device,
                rank=rank,
                count=count,
                meeting=self.scratch / "meeting",
                threads=max(1, settings.threads_per_job // count),
                resident_bytes=settings.resident_bytes,
                scratch=self.scratch,
            )
            for rank, (task, device) in enumerate(zip(tasks, self.devices, strict=True))
        ]

    def _pack(self, held: ExitStack) -> Path | None:
        """The folder of the job's data set; None where that comes with the package. Raises `BlobDamaged`."""
        claim = self.claim
        if claim.dataset is None or not claim.pack:
            return None
        return held.enter_context(self.station.packs.taken(claim.dataset.sha256, claim.pack, self._ledger.fetch))

    def _reject(self, damaged: CheckpointRef | SnapshotRef) -> None:
        if isinstance(damaged, CheckpointRef):
            self._reject_checkpoint()
        elif self.claim.kind is Kind.TRAINING:
            self._reject_snapshot(damaged)
        else:
            # Another job took it: it is not for this one to have it taken again.
            self._finish(failure.member_damaged(damaged.number))

    @property
    def _has_refused_its_checkpoint(self) -> bool:
        event = self._last.event if self._last else None
        return isinstance(event, Failed) and event.code == "checkpoint_damaged" and self.claim.checkpoint is not None

    def _reject_checkpoint(self) -> None:
        checkpoint = self.claim.checkpoint
        assert checkpoint is not None
        log.warning("checkpoint is damaged", step=checkpoint.step)
        job_id, attempt = self.claim.job_id, self.claim.attempt
        self._ledger.end(lambda session: attempts.reject_checkpoint(session, job_id, attempt, checkpoint))

    def _reject_snapshot(self, snapshot: SnapshotRef) -> None:
        log.warning("snapshot is damaged", number=snapshot.number)
        job_id, attempt = self.claim.job_id, self.claim.attempt
        self._ledger.end(lambda session: attempts.reject_snapshot(session, job_id, attempt, snapshot))

    # What it reports.

    def _follow(self, team: Team, spool: Spool) -> tuple[int, Failed | None]:
        """Store everything that comes, until the training is gone; how that came about, as `Team.join`."""
        self._output.begin()
        try:
            for batch in self._batches(team, spool):
                self._store(batch)
            return team.join()
        finally:
            team.kill()

    def _batches(self, team: Team, spool: Spool) -> Iterator[list[Message]]:
        """What the training reports until its pipe ends: as it comes, once it trains every `report_seconds`."""
        threading.Thread(target=self._read, args=(team, spool), name="reader", daemon=True).start()
        next_at = 0.0
        while (batch := spool.take(MOST_IN_A_BATCH)) is not None:
            while len(batch) < MOST_IN_A_BATCH and (wait := next_at - time.monotonic()) > 0:
                more = spool.take(MOST_IN_A_BATCH - len(batch), timeout=wait)
                if more is None:
                    break
                batch.extend(more)
            if any(isinstance(message.event, StepsFinished | Advanced) for message in batch):
                next_at = time.monotonic() + self.station.settings.report_seconds
            yield batch
            spool.stored(len(batch))

    def _read(self, team: Team, spool: Spool) -> None:
        """In the reader's thread."""
        try:
            while (data := team.receive()) is not None:
                self._keeper.heard()
                spool.put(data)
        except Exception as error:
            log.exception("report cannot be kept", job=self.claim.job_id, attempt=self.claim.attempt)
            self._broken_by = error
            self._keeper.kill()
        finally:
            self._keeper.heard_the_last()
            spool.end()

    def _store(self, batch: list[Message]) -> None:
        """One transaction for the batch; the training's last word waits for the transaction that ends the job."""
        self._ledger.record(batch, self.scratch)
        # Only now: a training counts as finished when all that it reported is stored.
        if isinstance(batch[-1].event, Failed | Finished | Stopped):
            self._last = batch[-1]
        for message in batch:
            if message.file:
                (self.scratch / message.file).unlink(missing_ok=True)

    # How it ends.

    def _finish(self, why_not: Failure | None) -> None:
        """Close the attempt and move the job in one transaction."""
        job_id, attempt = self.claim.job_id, self.claim.attempt
        is_done = self._last is not None and isinstance(self._last.event, Finished)
        why = self._why_stopped
        self._ledger.end(
            lambda session: attempts.finish(session, job_id, attempt, is_done=is_done, failure=why_not, why=why)
        )

    @property
    def _why_stopped(self) -> str | None:
        if self._ledger.lost_patience.is_set():
            return AWAY_TOO_LONG.format(kind=self.claim.kind)
        return DRAINED.format(kind=self.claim.kind) if self.station.resting.is_set() else None

    def _failure(self, exit_code: int, kills_before: int) -> Failure | None:
        """What the training's end means; None where it was asked to stop or has done everything."""
        event = self._last.event if self._last else None
        if isinstance(event, Finished):
            return None
        if isinstance(event, Failed) and event.failure_class != FailureClass.INFRASTRUCTURE:
            # Trying again cannot help, whatever the training was asked to do meanwhile.
            return failure.told(self.claim.kind, event)
        if self._keeper.timed_out.is_set():
            return self._timeout
        if isinstance(event, Stopped) or self._keeper.is_ending:
            return None
        if isinstance(event, Failed) and not (exit_code and event.code == PEER_LOST):
            log.error("training broke", code=event.code, output=self._output.tail)
            return failure.told(self.claim.kind, event)
        if self._broken_by:
            return failure.of_the_worker(self._broken_by, self.station.scratch)
        if self._keeper.fell_silent.is_set():
            return failure.fell_silent(self.claim.kind, self.station.settings.silence_seconds)
        log.warning("child died", exit_code=exit_code, output=self._output.tail)
        is_for_memory = exit_code == -signal.SIGKILL and self.station.blame.takes_one(kills_before)
        return failure.died(self.claim.kind, exit_code, out_of_memory=is_for_memory)

    @property
    def _timeout(self) -> Failure:
        return failure.ran_too_long(self.claim.max_runtime)


def _is_anothers(message: Message) -> bool:
    return isinstance(message.event, Failed) and message.event.code == PEER_LOST
