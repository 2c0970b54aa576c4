"""Keeps an attempt while it runs: renews its lease, and ends the training for the user, the clock or its silence."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from app.store.claims import Claim
from app.store.engine import is_unavailable
from app.store.errors import Fenced
from app.store.states import Wanted
from worker.ledger import Ledger
from worker.order import STOP
from worker.spool import Spool
from worker.station import Station
from worker.team import Team

log = structlog.get_logger()


class Keeper(threading.Thread):
    """Runs from the claim to `close`; the events say what it has found."""

    def __init__(self, station: Station, claim: Claim, ledger: Ledger) -> None:
        super().__init__(name="keeper", daemon=True)
        self._station = station
        self._claim = claim
        self._ledger = ledger
        self._log = log.bind(job=claim.job_id, attempt=claim.attempt)
        self._claimed_at = time.monotonic()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._team: Team | None = None
        self._spool: Spool | None = None
        self._silent_beats = 0
        self._stop_asked_at: float | None = None
        self.cancelled = threading.Event()
        self.pausing = threading.Event()
        self.timed_out = threading.Event()
        self.fell_silent = threading.Event()
        self._watch_the_time()

    @property
    def is_ending(self) -> bool:
        """Whether the training is to end before it is done."""
        return self._ledger.is_replaced or self.cancelled.is_set() or self._is_stopping

    @property
    def _is_stopping(self) -> bool:
        """Whether the training is to make a checkpoint and end."""
        reasons = (self.pausing, self.timed_out, self._ledger.lost_patience)
        return any(reason.is_set() for reason in reasons) or not self._station.takes_jobs

    def watch(self, start: Callable[[], Team], spool: Spool) -> Team | None:
        """Start a training that reports into `spool`, unless the attempt is already to end, and keep it from now on."""
        with self._lock:
            if self.is_ending:
                return None
            self._spool = spool
            self._team = start()
            self._station.teams.add(self._team)
            return self._team

    def heard(self) -> None:
        """The training has reported something."""
        self._silent_beats = 0

    def heard_the_last(self) -> None:
        """The training will report nothing more: its silence means nothing from now on."""
        self._spool = None

    def kill(self) -> None:
        """End the training at once, if there is one."""
        with self._lock:
            if self._team is not None:
                self._team.kill()

    def close(self) -> None:
        """The attempt is over; the training, if it still runs, ends with it."""
        self._closed.set()
        self.kill()
        if self._team is not None:
            self._station.teams.discard(self._team)
        self.join()

    def run(self) -> None:
        while not self._closed.wait(self._station.settings.beat_seconds):
            self._watch_the_time()
            self._listen_for_silence()
            if self._is_stopping:
                self._ask_to_stop()
            try:
                wanted = self._ledger.renew()
            except Fenced:
                self._ledger.give_up()
                self.kill()
                return
            except Exception as error:
                if not is_unavailable(error):
                    self._log.exception("lease could not be renewed")
                continue
            if wanted is Wanted.CANCEL:
                self.cancelled.set()
                self.kill()
            elif wanted is Wanted.PAUSE:
                self.pausing.set()
                self._ask_to_stop()

    def _watch_the_time(self) -> None:
        left = self._claim.seconds_left
        if left is not None and time.monotonic() - self._claimed_at >= left:
            self.timed_out.set()

    def _listen_for_silence(self) -> None:
        """End a training that hangs. Time is counted in beats, so that nobody seems silent who could not be heard."""
        spool = self._spool
        if spool is None or spool.is_full:
            return
        self._silent_beats += 1
        if self._silent_beats * self._station.settings.beat_seconds > self._station.settings.silence_seconds:
            self.fell_silent.set()
            self.kill()

    def _ask_to_stop(self) -> None:
        """Ask for a checkpoint and an end; past the grace, end it: the last checkpoint stands."""
        with self._lock:
            if self._team is None:
                return
            if self._stop_asked_at is None:
                self._stop_asked_at = time.monotonic()
                with suppress(OSError):
                    self._team.connection.send_bytes(STOP)
            elif time.monotonic() - self._stop_asked_at > self._station.settings.checkpoint_grace_seconds:
                self._team.kill()
