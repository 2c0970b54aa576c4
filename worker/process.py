"""Starts a worker process and brings it to a quiet end."""

import sys

import structlog
from celery.signals import setup_logging, worker_shutting_down

from app import logs, queue
from app.settings import Settings
from app.store import engine, migrate, workers
from app.telemetry import observe
from worker import forkserver, tasks, telemetry
from worker.settings import WorkerSettings
from worker.station import Station
from worker.sweep import Sweeper

log = structlog.get_logger()


def main() -> None:
    """Serve jobs until told to stop; running ones are checkpointed and handed back."""
    logs.configure()
    forkserver.warm()
    settings, worker_settings = Settings(), WorkerSettings()
    database = engine.create(settings.database_url.get_secret_value())
    try:
        migrate.check_schema(database)
    except migrate.SchemaMismatch as error:
        sys.exit(f"annealer worker: {error}")
    observe(database)
    broker_url = settings.broker_url.get_secret_value()
    station = Station(database, queue.Bell(broker_url), worker_settings, _gpus(worker_settings))
    logs.identify(worker=station.id)
    try:
        telemetry.serve(station)
    except telemetry.CannotServe as error:
        sys.exit(f"annealer worker: {error}")
    station.open_scratch()
    celery = queue.make(broker_url, publisher=False)
    tasks.bind(celery, station)
    # Whoever answers this signal has set up logging: we have.
    setup_logging.connect(lambda **_: None, weak=False)
    worker_shutting_down.connect(lambda **_: station.draining.set(), weak=False)
    sweeper = Sweeper(station)
    sweeper.start()
    log.info("worker ready", device=station.device, slots=worker_settings.slots)
    try:
        celery.worker_main(_arguments(station))
    finally:
        station.draining.set()
        sweeper.join()
        engine.retry(database, lambda session: workers.forget(session, station.id))
        station.close_scratch()


def _gpus(settings: WorkerSettings) -> tuple[str, ...]:
    names = tuple(forkserver.gpus())
    if settings.device == "cuda" and not names:
        sys.exit("annealer worker: ANNEALER_WORKER_DEVICE is cuda, but torch finds no CUDA device here.")
    return () if settings.device == "cpu" else names


def _arguments(station: Station) -> list[str]:
    queues = ",".join(queue.name(device) for device in station.serves)
    return [
        "--quiet",
        "worker",
        "--pool=threads",
        f"--concurrency={station.settings.slots}",
        f"--queues={queues}",
        f"--hostname={station.id}@%h",
        "--without-gossip",
        "--without-mingle",
    ]
