"""What every worker does every few seconds, harmless when many do it: rescue, ring again, collect.

SQL is the truth, and so nothing is lost with a bell: a job whose worker is gone is queued again, a job that
waits without a bell gets one, and an idle worker looks for such jobs itself.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import structlog
from sqlalchemy.orm import Session

from app import __version__
from app.settings import KeepSettings, load
from app.store import migrate, retention, sweep, workers
from app.store.engine import is_unavailable, retry
from app.store.states import Outcome
from app.store.sweep import Rescued
from worker import telemetry
from worker.execute import work
from worker.memory import Used
from worker.station import Station

log = structlog.get_logger()

BELL_SECONDS = 10.0
SLOW_SECONDS = 2.0
COLLECT_SECONDS = 600.0


class Sweeper(threading.Thread):
    """Sweeps until the station drains; it ends once the jobs that it has found are done."""

    def __init__(self, station: Station) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._station = station
        self._collected_at = float("-inf")
        self._keep = load(KeepSettings)
        self._was_away = False
        self._others_have_until = 0.0
        self._memory: Used = {}
        self._searches: list[threading.Thread] = []

    def run(self) -> None:
        self._sweep_on()
        for search in self._searches:
            search.join()

    def _sweep_on(self) -> None:
        while True:
            try:
                self.sweep()
            except migrate.SchemaMismatch as error:
                log.error("the database has another version now; stopping", error=str(error))
                # As an operator would: running jobs are handed back, to workers of that version.
                os.kill(os.getpid(), signal.SIGTERM)
                return
            except Exception as error:
                if is_unavailable(error):
                    log.warning("database is away", error=type(error).__name__)
                    self._was_away = True
                else:
                    log.exception("sweep broke")
            if self._station.draining.wait(self._station.settings.sweep_seconds):
                return

    def sweep(self) -> None:
        """One round."""
        self._memory = self._station.memory.now()
        began = time.monotonic()
        migrate.check_schema(self._station.engine)
        self._say_that_we_live()
        if self._was_away or time.monotonic() - began > SLOW_SECONDS:
            # A database that was away, or takes long to hear us, has not heard the others either: leases ran out
            # while nobody could renew them, and their workers get the time to come back.
            self._others_have_until = time.monotonic() + self._station.settings.lease_seconds
            self._was_away = False
        telemetry.HEARTBEAT.set_to_current_time()
        for worker_id in self._station.neighbours_gone():
            self._rescue("attempt of a dead worker closed", partial(sweep.rescue_of, worker_id=worker_id))
        if time.monotonic() > self._others_have_until:
            self._rescue("lost attempt closed", sweep.rescue)
        self._ring_again()
        if time.monotonic() - self._collected_at > COLLECT_SECONDS:
            self._collected_at = time.monotonic()
            # Beside the sweep: while much is removed, heartbeats go on.
            threading.Thread(target=self._collect, name="retention", daemon=True).start()

    def _rescue(self, told: str, close: Callable[[Session], list[Rescued]]) -> None:
        for job_id, attempt, status in retry(self._station.engine, close):
            log.warning(told, job=job_id, attempt=attempt, status=status)
            telemetry.ATTEMPTS.labels(Outcome.LOST).inc()
            telemetry.RESCUES.labels(status).inc()

    def _say_that_we_live(self) -> None:
        is_drained = retry(self._station.engine, self._beat)
        if is_drained != self._station.resting.is_set():
            self._rest(is_drained)

    def _rest(self, is_drained: bool) -> None:
        if is_drained:
            log.info("drained by an operator")
            self._station.resting.set()
        else:
            log.info("takes jobs again")
            self._station.resting.clear()

    def _beat(self, session: Session) -> bool:
        station = self._station
        return workers.beat(
            session,
            id=station.id,
            host=station.host,
            pid=station.pid,
            device=station.device,
            slots=station.settings.slots,
            version=__version__,
            offers=station.offers,
            memory=self._memory,
        )

    def _collect(self) -> None:
        try:
            done = retention.collect(self._station.engine, self._keep.limits, self._keep.uploads_seconds)
        except Exception as error:
            if not is_unavailable(error):
                log.exception("retention broke")
            return
        for removal in done.removals:
            log.info("leftover removed", job=removal.job_id, what=removal.kind, bytes=removal.bytes)
        if done.uploads:
            log.info("uploads removed", count=done.uploads)
        if done.blobs:
            log.info("blobs removed", count=done.blobs, bytes=done.blob_bytes)

    def _ring_again(self) -> None:
        """For jobs that could run here and whose last bell is long ago; and look for them ourselves.

        A busy worker looks for work once it is free, and a drained one may not: bells of theirs would pile up in the
        broker while nobody is free to hear them, and the jobs would count as rung for. Nor is one free who is between
        two jobs, and so bells that nobody has heard yet count too.
        """
        station = self._station
        if not (station.takes_jobs and station.devices.has_a_free_slot):
            return
        offers = station.offers
        rung = retry(station.engine, lambda session: sweep.needing_bell(session, BELL_SECONDS, offers))
        for device, jobs in Counter(device for _, device in rung).items():
            for _ in range(jobs - station.bell.unheard(device)):
                station.bell.ring(device)
        # Bells may be lost, or heard by a worker that is too busy for the job and rings for it again.
        has_overdue = retry(station.engine, lambda session: sweep.has_overdue(session, BELL_SECONDS, offers))
        if rung or has_overdue:
            self._look_for_work()

    def _look_for_work(self) -> None:
        """In as many threads as there are free slots."""
        station = self._station
        self._searches = [search for search in self._searches if search.is_alive()]
        for _ in range(min(station.devices.free_slots, station.settings.slots - len(self._searches))):
            self._searches.append(threading.Thread(target=work, args=(station,), name="work"))
            self._searches[-1].start()
