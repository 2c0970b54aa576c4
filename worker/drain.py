"""How a worker process ends: in peace within the grace, or at once.

The first signal lets running trainings make a checkpoint and hands their jobs back. A second one, or the end of the
grace, kills what still runs; those jobs are taken up by the next worker on this machine, or elsewhere when their
leases have run out.
"""

import os
import signal
import threading
from types import FrameType

import structlog

from worker.station import Station

log = structlog.get_logger()

UNFINISHED = 1
"""Exit status where a job could not be handed back."""


class Drain:
    """Waits for the order to end."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def begin(self) -> None:
        """Take no more jobs and let the running ones go. Called in the main thread, by the first signal."""
        if self._station.draining.is_set():
            return
        self._station.draining.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end_at_once)
        threading.Thread(target=self._end_in_time, name="drain", daemon=True).start()

    def _end_in_time(self) -> None:
        # This thread ends with the process, which usually ends first.
        threading.Event().wait(self._station.settings.grace_seconds)
        log.error("could not end in peace", seconds=self._station.settings.grace_seconds)
        self._end()

    def _end_at_once(self, _number: int, _frame: FrameType | None) -> None:
        self._end()

    def _end(self) -> None:
        """Without a word to the database, which may be what is missing, and without locks, because of signals."""
        for team in tuple(self._station.teams):
            team.kill()
        # The scratch folder stays, and so tells a neighbour that this worker is gone.
        os._exit(UNFINISHED)
