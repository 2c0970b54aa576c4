"""`/v1/workers`: who trains."""

from fastapi import APIRouter

from app.api import documents
from app.api.deps import Admin, EngineOf, Id, Reader
from app.api.schemas import WorkerList
from app.api.views import worker_view
from app.store import census, workers
from app.store.engine import read, retry

router = APIRouter(prefix="/v1", tags=["workers"])


@router.get("/workers", summary="Workers seen lately", responses=documents.problems(422, 503))
def index(caller: Reader, engine: EngineOf) -> WorkerList:
    """The oldest first."""
    with read(engine) as session:
        running = workers.running(session)
        found = workers.all_of_them(session)
        views = [worker_view(worker, alive, running.get(worker.id, []), caller.sees) for worker, alive in found]
        waiting = census.waiting(session)
    return WorkerList(items=views, waiting=dict(waiting))


@router.post(
    "/workers/{worker_id}/drain", status_code=204, summary="Drain a worker", responses=documents.problems(404, 422, 503)
)
def drain(caller: Admin, worker_id: Id, engine: EngineOf) -> None:
    """It takes no job from now on. Those that it runs make a checkpoint, wait again and go on elsewhere, or here later.

    The process lives on, until it is ended or `resume` is asked for; one that is started in its place takes jobs.
    """
    retry(engine, lambda session: workers.drain(session, worker_id, is_drained=True))


@router.post(
    "/workers/{worker_id}/resume",
    status_code=204,
    summary="Let a drained worker take jobs again",
    responses=documents.problems(404, 422, 503),
)
def resume(caller: Admin, worker_id: Id, engine: EngineOf) -> None:
    """It looks for some within seconds."""
    retry(engine, lambda session: workers.drain(session, worker_id, is_drained=False))
