"""What a child writes to stdout and stderr, on its way into the job's log.

It comes through a pipe of its own. One thread empties the pipe, so that a child never waits for the database;
another stores what has come. What comes faster than it can be stored is lost from the front, and said to be.
"""

import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from os import read

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.store import engine, logs
from app.store.claims import Claim
from app.store.engine import is_unavailable, retry
from app.store.errors import Fenced
from worker import forkserver
from worker.station import Station

log = structlog.get_logger()

PENDING_BYTES = 256 * 1024
TAIL_BYTES = 4_000
PIPE_SECONDS = 1.0
"""How long after the child's end its pipe may stay open: what the child has started may hold it."""


class Output:
    """The output of one attempt."""

    def __init__(self, station: Station, claim: Claim) -> None:
        self._station = station
        self._claim = claim
        self._log = log.bind(job=claim.job_id, attempt=claim.attempt)
        self._ours, self._theirs = forkserver.CONTEXT.Pipe(duplex=False)
        self._lock = threading.Lock()
        self._pending = bytearray()
        self._lost = 0
        self._held = b""
        self._tail = b""
        self._start: int | None = None
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, name="output-reader", daemon=True)
        self._storer = threading.Thread(target=self._store_as_it_comes, name="output-storer", daemon=True)

    @property
    def end(self) -> Connection:
        """The child's end of the pipe."""
        return self._theirs

    @property
    def tail(self) -> str:
        """The last that the child has written."""
        return self._tail.decode(errors="replace")

    def begin(self) -> None:
        """Take what comes from the child, which has its end now."""
        self._theirs.close()
        self._reader.start()
        self._storer.start()

    def drain(self) -> None:
        """Store what is left of a child that has ended. Raises `Fenced`, and may be called again after other errors."""
        self._reader.join(PIPE_SECONDS)
        self._over.set()
        self._storer.join()
        while self._store_next(is_last=True):
            pass

    def close(self) -> None:
        """Give up what has not been stored."""
        self._over.set()
        self._theirs.close()
        if self._reader.ident is None:
            self._ours.close()

    def _read(self) -> None:
        """Until the last holder of the other end is gone."""
        with self._ours, suppress(OSError):
            while data := read(self._ours.fileno(), 64 * 1024):
                with self._lock:
                    self._pending += data
                    excess = max(0, len(self._pending) - PENDING_BYTES)
                    del self._pending[:excess]
                    self._lost += excess
                    self._tail = (self._tail + data)[-TAIL_BYTES:]

    def _store_as_it_comes(self) -> None:
        while not self._over.wait(self._station.settings.beat_seconds):
            try:
                while self._store_next():
                    pass
            except Fenced:
                return
            except SQLAlchemyError:
                # It is away, as the supervisor tells: what is held waits for it.
                continue

    def _store_next(self, *, is_last: bool = False) -> bool:
        """Put what has come into the job's log; False where nothing has. Raises `Fenced` and what says it is away."""
        self._held = self._held or self._take(is_last=is_last)
        if not self._held:
            return False
        job_id, attempt, settings = self._claim.job_id, self._claim.attempt, self._station.settings
        try:
            start = self._start = self._end_of_log() if self._start is None else self._start
            retry(
                self._station.engine,
                lambda session: logs.append(
                    session, job_id, attempt, settings.lease_seconds, start, self._held, settings.log_bytes
                ),
            )
            self._start += len(self._held)
        except SQLAlchemyError as error:
            if is_unavailable(error):
                raise
            # No training ends for want of its log.
            self._log.exception("output is lost")
        self._held = b""
        return True

    def _take(self, *, is_last: bool = False) -> bytes:
        """What has come since the last time; a character whose end has not come yet waits for it."""
        with self._lock:
            whole = len(self._pending) if is_last else logs.whole_characters(self._pending)
            data = bytes(self._pending[:whole])
            del self._pending[:whole]
            lost, self._lost = self._lost, 0
        said = f"[{lost:,} bytes are missing here: they came faster than they could be stored]\n" if lost else ""
        return said.encode() + data

    def _end_of_log(self) -> int:
        with engine.read(self._station.engine) as session:
            return logs.extent(session, self._claim.job_id).end
