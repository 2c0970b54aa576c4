"""Runs jobs: claims the one whose turn it is, with the devices that it asks for, and sees its attempt through."""

import structlog

from app.store import claims
from app.store.claims import Claim
from app.store.engine import retry
from worker import telemetry
from worker.station import Station
from worker.supervisor import Supervisor


def work(station: Station) -> None:
    """Run jobs one after another for as long as there is a free slot, a job and no order to stop."""
    while station.takes_jobs and (chosen := _choose(station)):
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
        return (claim, station.devices.take(claim.device, claim.devices)) if claim else None
