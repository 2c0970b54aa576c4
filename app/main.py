"""The API server as an ASGI app; `python -m app` serves it."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

from fastapi import Depends, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi_offline import FastAPIOffline

from app import __version__, errors, logs, telemetry
from app.access import Authenticate, check_keys
from app.api import (
    compare,
    datasets,
    derived,
    documents,
    ensembles,
    events,
    files,
    health,
    jobs,
    keys,
    layers,
    metrics,
    predictions,
    prometheus,
    reports,
    snapshots,
    uploads,
    workers,
)
from app.api import logs as job_logs
from app.api.deps import refuse_unknown_parameters
from app.catalogue import Catalogue
from app.gate import Gate
from app.middleware import Trace
from app.notify import Watcher
from app.predictor import Predictor
from app.queue import Bell
from app.settings import Settings, load
from app.store import engine
from app.throttle import Throttle
from app.web import pages, signin


def create(settings: Settings | None = None) -> FastAPI:
    """The app, with settings from the environment unless they are given."""
    logs.configure()
    settings = settings or load(Settings)
    # Its pages of documentation load nothing from other hosts.
    app: FastAPI = FastAPIOffline(
        title=documents.TITLE, lifespan=_lifespan, dependencies=[Depends(refuse_unknown_parameters)]
    )
    app.state.settings = settings
    app.state.engine = engine.create(settings.database_url.get_secret_value(), settings.blobs)
    app.state.bell = Bell(settings.broker_url.get_secret_value())
    app.state.predictor = Predictor(settings)
    app.state.catalogue = Catalogue(app.state.engine)
    telemetry.observe(app.state.engine)
    app.state.registry = telemetry.registry(
        telemetry.Stock(app.state.engine), telemetry.HTTP_REQUESTS, telemetry.HTTP_SECONDS, *telemetry.PREDICTIONS
    )
    app.state.watcher = Watcher(app.state.engine, settings.watch_seconds)
    for resource in (
        jobs,
        events,
        job_logs,
        metrics,
        layers,
        snapshots,
        ensembles,
        predictions,
        derived,
        files,
        reports,
        compare,
        datasets,
        uploads,
        workers,
        keys,
        health,
        prometheus,
        pages,
        signin,
    ):
        app.include_router(resource.router)
    app.add_middleware(Gate, engine=app.state.engine)
    if settings.requests_per_minute:
        app.add_middleware(Throttle, per_minute=settings.requests_per_minute)
    app.add_middleware(Authenticate, settings=settings, engine=app.state.engine)
    app.add_middleware(Trace)
    errors.install(app)
    documents.install(app, __version__)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    await run_in_threadpool(check_keys, app.state.settings, app.state.engine)
    with _told_of_the_end(app.state.watcher):
        yield
    await app.state.watcher.close()
    await app.state.predictor.close()
    app.state.engine.dispose()


@contextmanager
def _told_of_the_end(watcher: Watcher) -> Iterator[None]:
    """Clients that wait are let go with the first signal to end: the server would wait for them, then cut them off."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(watcher.release)
        if callable(before_us := before[signal.Signals(number)]):
            before_us(number, frame)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
