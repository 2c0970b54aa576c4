"""The API server: `uvicorn --factory app.main:create`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.responses import RedirectResponse

from app import __version__, errors, logs
from app.api import datasets, documents, ensembles, events, health, jobs, layers, metrics, snapshots, workers
from app.api.deps import refuse_unknown_parameters
from app.middleware import Trace
from app.notify import Watcher
from app.queue import Bell
from app.settings import Settings
from app.store import engine


def create(settings: Settings | None = None) -> FastAPI:
    """The app, with settings from the environment unless they are given."""
    logs.configure()
    settings = settings or Settings()
    app = FastAPI(lifespan=_lifespan, dependencies=[Depends(refuse_unknown_parameters)])
    app.state.settings = settings
    app.state.engine = engine.create(settings.database_url.get_secret_value())
    app.state.bell = Bell(settings.broker_url.get_secret_value())
    app.state.watcher = Watcher(app.state.engine, settings.watch_seconds)
    for resource in (jobs, events, metrics, layers, snapshots, ensembles, datasets, workers, health):
        app.include_router(resource.router)
    app.add_api_route("/", _front, include_in_schema=False)
    app.add_middleware(Trace)
    errors.install(app)
    documents.install(app, __version__)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await app.state.watcher.close()
    app.state.engine.dispose()


def _front() -> RedirectResponse:
    return RedirectResponse("/docs")
