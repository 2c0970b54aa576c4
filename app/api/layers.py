"""`/v1/jobs/{id}/layers`: what was seen inside the network."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api import documents
from app.api.deps import EngineOf, JobId, Reader
from app.api.schemas import LayerStatisticsList
from app.api.views import layer_statistics_view
from app.store import jobs, layers
from app.store.engine import read
from trainer.events import HISTOGRAM_EDGES

router = APIRouter(prefix="/v1", tags=["metrics"])


@router.get("/jobs/{job_id}/layers", summary="Statistics of each layer", responses=documents.problems(404, 422, 503))
def show(
    caller: Reader,
    job_id: JobId,
    engine: EngineOf,
    epoch: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="Only after this epoch; 0 for initialisation.")
    ] = None,
) -> LayerStatisticsList:
    """Outputs, gradients, dead units and update sizes, at initialisation and after the epochs that the spec names."""
    with read(engine) as session:
        jobs.get(session, job_id)
        found = [layer_statistics_view(row) for row in layers.of_job(session, job_id, epoch)]
    return LayerStatisticsList(items=found, histogram_edges=list(HISTOGRAM_EDGES))
