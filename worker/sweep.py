"""What every worker does every few seconds, harmless when many do it: rescue, ring again, collect.

SQL is the truth, and so nothing is lost with a bell: a job whose worker is gone is queued again, a job that
waits without a bell gets one, and an idle worker whose broker is away looks for work itself.
"""

import threading
import time
from functools import partial

import structlog
from sqlalchemy.orm import Session

from app import __version__
from app.store import blobs, jobs, sweep, workers
from app.store.engine import is_unavailable, retry
from worker.execute import work
from worker.station import Station

log = structlog.get_logger()

BELL_SECONDS = 10.0
SLOW_SECONDS = 2.0
COLLECT_SECONDS = 600.0
BLOB_GRACE_SECONDS = 3600.0


class Sweeper(threading.Thread):
    """Sweeps until the station drains."""

    def __init__(self, station: Station) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._station = station
        self._collected_at = 0.0
        self._away_until = 0.0

    def run(self) -> None:
        while True:
            try:
                self.sweep()
            except Exception as error:
                if is_unavailable(error):
                    log.warning("database is away", error=type(error).__name__)
                    self._wait_for_others()
                else:
                    log.exception("sweep broke")
            if self._station.draining.wait(self._station.settings.sweep_seconds):
                return

    def sweep(self) -> None:
        """One round."""
        self._beat_in_time()
        for worker_id in self._station.neighbours_gone():
            for job_id, attempt, status in retry(self._station.engine, partial(sweep.rescue_of, worker_id=worker_id)):
                log.warning("attempt of a dead worker closed", job=job_id, attempt=attempt, status=status)
        if time.monotonic() > self._away_until:
            for job_id, attempt, status in retry(self._station.engine, sweep.rescue):
                log.warning("lost attempt closed", job=job_id, attempt=attempt, status=status)
        for _job_id, device in retry(self._station.engine, lambda session: jobs.needing_bell(session, BELL_SECONDS)):
            if not self._station.bell.ring(device):
                self._look_for_work()
        if time.monotonic() - self._collected_at > COLLECT_SECONDS:
            self._collected_at = time.monotonic()
            retry(self._station.engine, lambda session: blobs.collect(session, BLOB_GRACE_SECONDS))

    def _beat_in_time(self) -> None:
        """Say that we live. A database that takes long to hear it has not heard the others either."""
        began = time.monotonic()
        retry(self._station.engine, self._beat)
        if time.monotonic() - began > SLOW_SECONDS:
            self._wait_for_others()

    def _wait_for_others(self) -> None:
        """Leases ran out while nobody could renew them: their workers get the time to come back."""
        self._away_until = time.monotonic() + self._station.settings.lease_seconds

    def _beat(self, session: Session) -> None:
        station = self._station
        workers.beat(
            session,
            id=station.id,
            host=station.host,
            pid=station.pid,
            device=station.device,
            slots=station.settings.slots,
            version=__version__,
        )

    def _look_for_work(self) -> None:
        if not self._station.slots.empty():
            threading.Thread(target=work, args=(self._station,), name="work").start()
