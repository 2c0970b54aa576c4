"""`/v1/ensembles`: what several snapshots predict together."""

from fastapi import APIRouter

from app.api import documents
from app.api.deps import EngineOf, EnsembleId, JobId, Reader
from app.api.schemas import EnsembleView
from app.api.views import ensemble_view
from app.errors import Problem
from app.store import ensembles, jobs
from app.store.engine import read
from app.store.states import Kind

router = APIRouter(prefix="/v1", tags=["ensembles"])


@router.get("/jobs/{job_id}/ensemble", summary="The ensemble of a job", responses=documents.problems(404, 422, 503))
def of_job(caller: Reader, job_id: JobId, engine: EngineOf) -> EnsembleView:
    """There once the job has scored it, if its spec asks for one."""
    with read(engine) as session:
        job = jobs.get(session, job_id)
        ensemble = ensembles.of_job(session, job_id)
        if ensemble is None:
            asked = job.kind is not Kind.TRAINING or job.spec["ensemble"]["kind"] != "none"
            why = f"it is {job.status}" if asked else "its spec asks for none"
            raise Problem(404, "not-found", f"Job {job_id} has no ensemble: {why}.")
        return ensemble_view(session, ensemble)


@router.get("/ensembles/{ensemble_id}", summary="An ensemble", responses=documents.problems(404, 422, 503))
def show(caller: Reader, ensemble_id: EnsembleId, engine: EngineOf) -> EnsembleView:
    """Its members, each with its share and its scores when it stands alone."""
    with read(engine) as session:
        return ensemble_view(session, ensembles.get(session, ensemble_id))
