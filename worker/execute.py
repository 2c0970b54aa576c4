"""Runs jobs: claims the one whose turn it is, with the devices that it asks for, and sees its attempt through."""

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.store import claims
from app.store.claims import Claim
from app.store.engine import is_unavailable, retry
from worker import telemetry
from worker.station import Station
from worker.supervisor import Supervisor

log = structlog.get_logger()


def work(station: Station) -> None:
    """Run jobs one after another for as long as there is a free slot, a job and no order to stop.

    While the database is away nothing can be run; the sweep looks for work again once it is back.
    """
    try:
        while station.takes_jobs and (chosen := _choose(station)):
            _run(station, *chosen)
    except SQLAlchemyError as error:
        if not is_unavailable(error):
            raise
        log.warning("database is away", error=type(error).__name__)


def _run(station: Station, claim: Claim, devices: tuple[str, ...]) -> None:
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
        return (claim, station.devices.take(claim.device, claim.devices)) if claim else None
