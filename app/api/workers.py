"""`/v1/workers`: who trains."""

from fastapi import APIRouter

from app.api import documents
from app.api.deps import EngineOf, Reader
from app.api.schemas import WorkerList
from app.api.views import worker_view
from app.store import workers
from app.store.engine import read

router = APIRouter(prefix="/v1", tags=["workers"])


@router.get("/workers", summary="Workers seen lately", responses=documents.problems(422, 503))
def index(caller: Reader, engine: EngineOf) -> WorkerList:
    """The oldest first."""
    with read(engine) as session:
        running = workers.running(session)
        found = workers.all_of_them(session)
        views = [worker_view(worker, alive, running.get(worker.id, []), caller.sees) for worker, alive in found]
    return WorkerList(items=views)
