"""`POST …/batch-predict` and `…/export`: jobs that make files of a snapshot or an ensemble."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, BackgroundTasks, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.api import documents
from app.api.deps import (
    BellOf,
    EngineOf,
    EnsembleId,
    JsonBody,
    OptionalJsonBody,
    OwnerOf,
    Reader,
    SettingsOf,
    SnapshotId,
    Submitter,
    idempotency_of,
)
from app.api.downloads import RESPONSES, DownloadOf
from app.api.schemas import JobView
from app.api.views import job_view
from app.errors import RETRY_SECONDS, Problem
from app.queue import Bell
from app.settings import Settings
from app.store import datasets, derived, files, jobs, serving
from app.store.engine import read, retry
from app.store.models import Dataset, Job, JobFile
from app.store.serving import Served
from app.store.states import Status
from trainer.errors import Mistake, SpecInvalid
from trainer.parsing import parse_as
from trainer.spec.exporting import SUFFIXES, ExportSpec, Format
from trainer.spec.prediction import PredictionSpec

router = APIRouter(prefix="/v1")
log = structlog.get_logger()


@dataclass(frozen=True)
class Making:
    """Where jobs go, whose they are, and what is to be told of them."""

    engine: Engine
    bell: Bell
    settings: Settings
    owner: str
    tasks: BackgroundTasks
    response: Response

    def job(self, make: Callable[[Session], tuple[Job, bool]]) -> JobView:
        """What `make` makes or finds, in a transaction of its own: 201 or 200."""

        def store(session: Session) -> tuple[JobView, bool]:
            job, created = make(session)
            return job_view(session, job), created

        view, created = retry(self.engine, store)
        self.response.headers["Location"] = view.links.self_
        if created:
            log.info("job submitted", job=view.id, kind=view.kind)
            self.tasks.add_task(self.bell.ring, view.spec["device"])
        else:
            self.response.status_code = 200
        return view

    def prediction(self, find: Callable[[Session], Served], sees: str | None, body: bytes, key: str | None) -> JobView:
        """The job that predicts what `body` asks for, with the model that `find` finds."""
        asked = parse_as(PredictionSpec, body)
        idempotency = idempotency_of(self.owner, key, body)

        def make(session: Session) -> tuple[Job, bool]:
            # What the model is may have changed since: the same request still stands for its job.
            if idempotency and (known := jobs.known(session, idempotency)):
                return known, False
            served = find(session)
            dataset = _dataset(session, asked, served, sees)
            return derived.make(
                session,
                derived.prediction(asked, served),
                dataset,
                max_attempts=self.settings.max_attempts,
                owner=self.owner,
                max_queued=self.settings.max_queued,
                idempotency=idempotency,
            )

        return self.job(make)

    def export(self, find: Callable[[Session], Served], sees: str | None, body: bytes) -> JobView:
        """The job that exports as `body` says the model that `find` finds; one that there is already will do."""
        asked = parse_as(ExportSpec, body or b"{}")

        def make(session: Session) -> tuple[Job, bool]:
            spec = derived.export(asked, _exportable(find(session)))
            for job in derived.exports(session, spec, sees):
                return job, False
            return derived.make(
                session,
                spec,
                None,
                max_attempts=self.settings.max_attempts,
                owner=self.owner,
                max_queued=self.settings.max_queued,
            )

        return self.job(make)


async def _making(
    engine: EngineOf, bell: BellOf, settings: SettingsOf, owner: OwnerOf, tasks: BackgroundTasks, response: Response
) -> Making:
    return Making(engine, bell, settings, owner, tasks, response)


MakingOf = Annotated[Making, Depends(_making)]
KeyOf = Annotated[str | None, Header(alias="Idempotency-Key", description="Same key and same body: the same job.")]
FormatOf = Annotated[Format, Query(description="What kind of file.")]

PREDICTING: dict[str, Any] = {
    "status_code": 201,
    "tags": ["predictions"],
    "responses": documents.problems(404, 408, 409, 413, 415, 422, 429, 503) | documents.MADE_JOB,
    "openapi_extra": documents.BATCH_BODY,
}
EXPORTING: dict[str, Any] = {
    "status_code": 201,
    "tags": ["exports"],
    "responses": documents.problems(404, 408, 409, 413, 415, 422, 429, 503) | documents.MADE_JOB,
    "openapi_extra": documents.EXPORT_BODY,
}
EXPORTED: dict[str, Any] = {
    "tags": ["exports"],
    "response_class": StreamingResponse,
    "responses": RESPONSES | documents.problems(409),
}


@router.post("/snapshots/{snapshot_id}/batch-predict", summary="Predict a data set with a snapshot", **PREDICTING)
def predict_by_snapshot(
    caller: Submitter, snapshot_id: SnapshotId, body: JsonBody, making: MakingOf, key: KeyOf = None
) -> JobView:
    """As with an ensemble."""
    return making.prediction(lambda session: serving.snapshot(session, snapshot_id), caller.sees, body, key)


@router.post("/ensembles/{ensemble_id}/batch-predict", summary="Predict a data set with an ensemble", **PREDICTING)
def predict_by_ensemble(
    caller: Submitter, ensemble_id: EnsembleId, body: JsonBody, making: MakingOf, key: KeyOf = None
) -> JobView:
    """A job does it, whatever the data set's size.

    Once it has succeeded, `links.files` has the table: a row for each image with its split, its index there, its label,
    what is predicted and how sure that is.
    """
    return making.prediction(lambda session: serving.ensemble(session, ensemble_id), caller.sees, body, key)


@router.post("/snapshots/{snapshot_id}/export", summary="Export a snapshot", **EXPORTING)
def export_snapshot(caller: Submitter, snapshot_id: SnapshotId, body: OptionalJsonBody, making: MakingOf) -> JobView:
    """As of an ensemble."""
    return making.export(lambda session: serving.snapshot(session, snapshot_id), caller.sees, body)


@router.post("/ensembles/{ensemble_id}/export", summary="Export an ensemble", **EXPORTING)
def export_ensemble(caller: Submitter, ensemble_id: EnsembleId, body: OptionalJsonBody, making: MakingOf) -> JobView:
    """As one network for other programs: uint8 images in, probabilities out.

    A job makes the file, once for each format: asked again, it is the same job (200). Then the file is at this address.
    """
    return making.export(lambda session: serving.ensemble(session, ensemble_id), caller.sees, body)


@router.get("/snapshots/{snapshot_id}/export", summary="An exported snapshot", **EXPORTED)
def snapshot_file(
    caller: Reader, snapshot_id: SnapshotId, engine: EngineOf, download: DownloadOf, format: FormatOf = "onnx"
) -> Response:
    """As of an ensemble."""
    with read(engine) as session:
        file = _file(session, serving.snapshot(session, snapshot_id), format, caller.sees)
    return download.of(file.sha256, file.size, f"{snapshot_id}.{SUFFIXES[format]}", file.media_type)


@router.get("/ensembles/{ensemble_id}/export", summary="An exported ensemble", **EXPORTED)
def ensemble_file(
    caller: Reader, ensemble_id: EnsembleId, engine: EngineOf, download: DownloadOf, format: FormatOf = "onnx"
) -> Response:
    """The file that was asked for with POST: 404 before that, 409 with `Retry-After` until it is there."""
    with read(engine) as session:
        file = _file(session, serving.ensemble(session, ensemble_id), format, caller.sees)
    return download.of(file.sha256, file.size, f"{ensemble_id}.{SUFFIXES[format]}", file.media_type)


def _dataset(session: Session, asked: PredictionSpec, served: Served, sees: str | None) -> Dataset:
    """What is to be predicted. Raises `SpecInvalid`."""
    dataset = datasets.ready(session, asked.dataset, sees)
    facts = datasets.facts(dataset)
    if facts.shape != served.shape:
        detail = f"Its images are {_size(facts.shape)}, and the model takes {_size(served.shape)}."
        raise SpecInvalid([Mistake("/dataset", "wrong_shape", detail)])
    if asked.splits and "test" in asked.splits and not facts.test_count:
        detail = f"{asked.dataset} has no test split."
        raise SpecInvalid([Mistake("/splits", "missing_split", detail)])
    return dataset


def _exportable(served: Served) -> Served:
    if served.combine == "majority_vote":
        detail = "A majority vote has no probabilities; export an ensemble that is combined by a mean."
        raise Problem(409, "not-exportable", detail)
    return served


def _file(session: Session, served: Served, format: Format, sees: str | None) -> JobFile:
    """The file of a model. Raises `Problem` where there is none, or not yet."""
    spec = derived.export(ExportSpec(format=format), served)
    found = derived.exports(session, spec, sees)
    for job in found:
        if job.status is Status.SUCCEEDED:
            return files.get(session, job.id, spec.file)
    if found:
        detail = f"Job {found[0].id}, which makes this file, is {found[0].status}."
        raise Problem(409, "not-ready", detail, headers={"Retry-After": str(RETRY_SECONDS)})
    raise Problem(404, "not-exported", f"Nobody has asked for this as {format}; POST to this address first.")


def _size(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{channels}×{height}×{width}"
