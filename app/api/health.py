"""`/healthz` and `/readyz`: whether the process lives, and whether it can serve."""

from fastapi import APIRouter, Response
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.api.deps import BellOf, EngineOf
from app.api.schemas import DatabaseState, HealthView, ReadinessView
from app.errors import RETRY_SECONDS
from app.store import migrate

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The process lives")
async def healthz() -> HealthView:
    """Asks nobody."""
    return HealthView(status="ok")


@router.get("/readyz", summary="Requests can be served", responses={503: {"model": ReadinessView}})
def readyz(engine: EngineOf, bell: BellOf, response: Response) -> ReadinessView:
    """503 while the database is away or at another version. Without the broker, jobs wait for the sweep."""
    database, missing = _database(engine)
    has_broker = bell.answers()
    if not has_broker:
        told = "The broker cannot be reached: jobs are taken, and start some seconds later."
        missing = f"{missing} {told}" if missing else told
    if database != "ok":
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return ReadinessView(
        ready=database == "ok",
        database=database,
        broker="ok" if has_broker else "unreachable",
        detail=missing,
    )


def _database(engine: Engine) -> tuple[DatabaseState, str | None]:
    try:
        migrate.check_schema(engine)
    except migrate.SchemaMismatch as error:
        return "wrong version", str(error)
    except SQLAlchemyError:
        return "unreachable", "The database cannot be reached."
    return "ok", None
