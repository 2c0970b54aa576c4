"""`/v1/datasets`: what specs can name."""

from fastapi import APIRouter

from app.api import documents
from app.api.deps import EngineOf, Id, Reader
from app.api.schemas import DatasetList, DatasetView
from app.api.views import dataset_view
from app.store import datasets
from app.store.engine import read

router = APIRouter(prefix="/v1", tags=["data sets"])


@router.get("/datasets", summary="Every data set", responses=documents.problems(422, 503))
def index(caller: Reader, engine: EngineOf) -> DatasetList:
    """By name."""
    with read(engine) as session:
        return DatasetList(items=[dataset_view(dataset) for dataset in datasets.all_of_them(session)])


@router.get("/datasets/{name}", summary="A data set", responses=documents.problems(404, 422, 503))
def show(caller: Reader, name: Id, engine: EngineOf) -> DatasetView:
    """Its classes and sizes."""
    with read(engine) as session:
        return dataset_view(datasets.get(session, name))
