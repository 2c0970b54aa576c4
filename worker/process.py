"""Starts a worker process and brings it to a quiet end."""

import signal
import sys

import structlog
from celery.signals import setup_logging, worker_shutting_down
from sqlalchemy.exc import SQLAlchemyError

from app import logs, queue
from app.settings import Settings, SettingsInvalid, load
from app.store import engine, migrate, workers
from app.telemetry import observe
from worker import forkserver, hearing, tasks, telemetry
from worker.drain import Drain
from worker.machine import Machine
from worker.settings import WorkerSettings
from worker.station import Station
from worker.sweep import Sweeper

log = structlog.get_logger()


def main() -> None:
    """Serve jobs until told to stop; running ones are checkpointed and handed back."""
    try:
        _serve()
    except (SettingsInvalid, migrate.SchemaMismatch, telemetry.CannotServe) as error:
        sys.exit(f"annealer worker: {error}")


def _serve() -> None:
    logs.configure()
    forkserver.warm()
    settings, worker_settings = load(Settings), load(WorkerSettings)
    database = engine.create(settings.database_url.get_secret_value(), settings.blobs)
    migrate.check_schema(database)
    observe(database)
    broker_url = settings.broker_url.get_secret_value()
    station = Station(database, queue.Bell(broker_url), worker_settings, _machine(worker_settings))
    logs.identify(worker=station.id)
    sweeper = Sweeper(station)
    telemetry.serve(station)
    station.open_scratch()
    celery = queue.make(broker_url, publisher=False)
    tasks.bind(celery, station)
    celery.steps["consumer"].add(hearing.step(station))
    # Whoever answers this signal has set up logging: we have.
    setup_logging.connect(lambda **_: None, weak=False)
    drain = Drain(station)
    worker_shutting_down.connect(lambda **_: drain.begin(), weak=False)
    sweeper.start()
    try:
        # Until Celery listens to it, which is a second or two.
        signal.signal(signal.SIGTERM, lambda *_: _leave(drain))
        log.info("worker ready", device=station.device, slots=worker_settings.slots)
        celery.worker_main(_arguments(station))
    finally:
        station.draining.set()
        sweeper.join()
        try:
            engine.retry(database, lambda session: workers.forget(session, station.id))
        except SQLAlchemyError as error:
            log.warning("database is away", error=type(error).__name__)
        station.close_scratch()


def _leave(drain: Drain) -> None:
    """End before Celery has begun: what a sweep has found to run meanwhile has the grace too."""
    drain.begin()
    sys.exit(0)


def _machine(settings: WorkerSettings) -> Machine:
    machine = forkserver.machine()
    if settings.device == "cuda" and not machine.gpus:
        sys.exit("annealer worker: ANNEALER_WORKER_DEVICE is cuda, but torch finds no CUDA device here.")
    return machine.without_gpus() if settings.device == "cpu" else machine


def _arguments(station: Station) -> list[str]:
    queues = ",".join(queue.name(device) for device in station.devices.most)
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
