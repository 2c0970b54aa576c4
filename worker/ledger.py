"""What one attempt reads and writes in the database: fenced, known when repeated, tried again while it is away."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.store import attempts, blobs
from app.store.claims import Claim
from app.store.engine import is_unavailable, retry
from app.store.states import Outcome, Wanted
from app.store.uploads import UploadRef
from worker import telemetry
from worker.changes import changes_of
from worker.station import Station
from worker.wire import Message

log = structlog.get_logger()

T = TypeVar("T")
RETRY_SECONDS = 1.0


class Replaced(Exception):
    """The attempt is not ours any more: write nothing."""


class Ledger:
    """Safe to use from several threads. `lost_patience` is set once the database has been away for too long."""

    def __init__(self, station: Station, claim: Claim) -> None:
        self._station = station
        self._claim = claim
        self._batches = 0
        self._replaced = threading.Event()
        self.lost_patience = threading.Event()

    @property
    def is_replaced(self) -> bool:
        """Whether somebody else has closed the attempt."""
        return self._replaced.is_set()

    def give_up(self) -> None:
        """Somebody else has closed the attempt: whoever waits for the database gets `Replaced`."""
        self._replaced.set()

    def renew(self) -> Wanted:
        """Keep the attempt for a lease more; what the user wants. Tried once. Raises `Fenced`."""
        job_id, attempt, lease = self._claim.job_id, self._claim.attempt, self._station.settings.lease_seconds
        return retry(self._station.engine, lambda session: attempts.renew(session, job_id, attempt, lease))

    def fetch(self, sha256: str, path: Path) -> Path:
        """Write a blob to a file. Raises `BlobDamaged` or `Replaced`."""
        self.patiently(lambda: blobs.fetch(self._station.engine, sha256, path))
        return path

    def join(self, upload: UploadRef, path: Path) -> Path:
        """Write an upload to a file. Raises `BlobDamaged` or `Replaced`."""
        self.patiently(lambda: blobs.join(self._station.engine, upload.parts, upload.sha256, path))
        return path

    def record(self, batch: Sequence[Message], folder: Path) -> None:
        """Store what a training has reported, with its files in `folder`. Raises `Fenced` or `Replaced`."""
        self._batches += 1
        self.patiently(lambda: self._record(batch, folder))

    def end(self, act: Callable[[Session], Outcome]) -> None:
        """Do what ends the attempt, once: where an answer was lost, what it said is found in the database."""

        def once(session: Session) -> Outcome:
            return attempts.ended(session, self._claim.job_id, self._claim.attempt) or act(session)

        outcome = self.patiently(lambda: retry(self._station.engine, once))
        log.info("attempt ended", outcome=outcome)
        telemetry.ATTEMPTS.labels(outcome).inc()
        if outcome in (Outcome.RELEASED, Outcome.CRASHED):
            self._station.bell.ring(self._claim.device)

    def patiently(self, act: Callable[[], T]) -> T:
        """Do it again while the database is away, past the operator's patience too. Raises `Replaced`."""
        deadline = time.monotonic() + self._station.settings.store_patience_seconds
        has_collided = False
        while True:
            if self.is_replaced:
                raise Replaced
            try:
                return act()
            except IntegrityError:
                if has_collided:
                    raise
                # A blob that was there already was collected before this attempt could refer to it.
                log.info("storing once more", exc_info=True)
                has_collided = True
                continue
            except Exception as error:
                if not is_unavailable(error):
                    raise
                log.warning("database or storage is away", error=type(error).__name__)
            if time.monotonic() > deadline:
                self.lost_patience.set()
            self._replaced.wait(RETRY_SECONDS)

    def _record(self, batch: Sequence[Message], folder: Path) -> None:
        files = [message.file for message in batch if message.file]
        if files:
            # Blobs know no attempts: who has been replaced is to write none.
            self.renew()
        changes = changes_of(batch, {file: blobs.put(self._station.engine, folder / file) for file in files})
        job_id, attempt, lease = self._claim.job_id, self._claim.attempt, self._station.settings.lease_seconds
        retry(
            self._station.engine,
            lambda session: attempts.record(session, job_id, attempt, lease, changes, self._batches),
        )
