"""`POST …/predict`: what a snapshot or an ensemble says of new images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from numpy.typing import NDArray
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app import pictures
from app.api import documents
from app.api.deps import (
    CatalogueOf,
    EnsembleId,
    PredictorOf,
    Reader,
    SettingsOf,
    SnapshotId,
    body_in_time,
    bounded,
    chunks,
    content_type,
    read_body,
    unless_gone,
)
from app.api.schemas import LikelyView, MemberPredictionView, PredictionsView, PredictionView, PredictRequest
from app.catalogue import Catalogue, Find
from app.errors import Problem
from app.predictor import Predictor
from app.questions import Found, Member, Model
from app.store import serving
from app.store.serving import Served

router = APIRouter(prefix="/v1", tags=["predictions"])

MOST_FILES = 10_000
ARRAYS = {"application/octet-stream", "application/x-npy"}


@dataclass(frozen=True)
class Asking:
    """A request, and what it takes to answer it."""

    request: Request
    catalogue: Catalogue
    predictor: Predictor
    most_bytes: int
    top_k: int
    members: bool

    async def answer(self, id: str, find: Find) -> PredictionsView:
        """What the model that `find` finds says of the images in the body. Raises `Problem`."""
        with self.predictor.room(self._announced()):
            served = await self.catalogue.get(find, id)
            images = await self._images(served.shape)
            asking = self.predictor.ask(_model(served), images, members=self.members)
            found = await unless_gone(self.request, asking)
        return _view(id, served, found, self.top_k)

    def _announced(self) -> int:
        """Bytes of the body at most."""
        length = self.request.headers.get("Content-Length", "")
        return min(int(length), self.most_bytes) if length.isascii() and length.isdigit() else self.most_bytes

    async def _images(self, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        kind = content_type(self.request)
        if kind in ARRAYS:
            body = await bounded(self.request, self.most_bytes)
            return pictures.from_npy(body, shape, self.most_bytes)
        files = await self._files(kind)
        # A photograph is many times its file once it is decoded.
        async with self.predictor.decoding:
            return await run_in_threadpool(pictures.from_files, files, shape, self.most_bytes)

    async def _files(self, kind: str) -> list[bytes]:
        if kind == "multipart/form-data":
            return await self._parts()
        if not (kind.startswith("image/") or kind == "application/json"):
            detail = f"Send images as {', '.join(documents.IMAGE_TYPES)}, not {kind or 'nothing'}."
            raise Problem(415, "unsupported-media-type", detail)
        body = await bounded(self.request, self.most_bytes)
        if kind.startswith("image/"):
            return [body]
        wish = read_body(PredictRequest, body, 'Give {"images": ["…", …]}, image files in base64.')
        return pictures.from_base64(wish.images)

    async def _parts(self) -> list[bytes]:
        body = chunks(self.request, self.most_bytes)
        parser = MultiPartParser(self.request.headers, body, max_files=MOST_FILES, max_fields=0)
        try:
            async with body_in_time():
                form = await parser.parse()
        except MultiPartException as error:
            raise _no_files(f"The form cannot be read: {error.message}") from None
        try:
            parts = form.getlist("images")
            if not parts or len(parts) != len(form.multi_items()):
                raise _no_files("Send the images as files of a form, each with the name `images`.")
            return [await part.read() for part in parts if isinstance(part, UploadFile)]
        finally:
            await form.close()


async def _asking(
    request: Request,
    catalogue: CatalogueOf,
    predictor: PredictorOf,
    settings: SettingsOf,
    top_k: Annotated[int, Query(ge=1, le=1000, description="How many of the likeliest classes `top` has.")] = 5,
    members: Annotated[bool, Query(description="Each member's own probabilities, and how far they disagree.")] = False,
) -> Asking:
    return Asking(request, catalogue, predictor, settings.predict_body_bytes, top_k, members)


AskingOf = Annotated[Asking, Depends(_asking)]


@router.post(
    "/snapshots/{snapshot_id}/predict",
    summary="Predict with a snapshot",
    responses=documents.PREDICTED,
    openapi_extra=documents.IMAGES_BODY,
)
async def by_snapshot(caller: Reader, snapshot_id: SnapshotId, asking: AskingOf) -> PredictionsView:
    """What it says of images, prepared as those that it was trained on: one or many, as files or as an array."""
    return await asking.answer(snapshot_id, serving.snapshot)


@router.post(
    "/ensembles/{ensemble_id}/predict",
    summary="Predict with an ensemble",
    responses=documents.PREDICTED,
    openapi_extra=documents.IMAGES_BODY,
)
async def by_ensemble(caller: Reader, ensemble_id: EnsembleId, asking: AskingOf) -> PredictionsView:
    """What its members say of images together, in the shares and with the temperature that it was scored with."""
    return await asking.answer(ensemble_id, serving.ensemble)


def _model(served: Served) -> Model:
    members = tuple(Member(snapshot_id=one.snapshot_id, sha256=one.sha256, weight=one.weight) for one in served.shares)
    return Model(members=members, combine=served.combine, temperature=served.temperature)


def _view(id: str, served: Served, found: Found, top_k: int) -> PredictionsView:
    return PredictionsView(
        id=id,
        classes=list(served.classes),
        items=[_prediction(index, served, found, top_k) for index in range(len(found.classes))],
    )


def _prediction(index: int, served: Served, found: Found, top_k: int) -> PredictionView:
    likely = None if found.probabilities is None else found.probabilities[index].tolist()
    alone = None if found.members is None else found.members[:, index]
    return PredictionView(
        index=index,
        label=served.classes[found.classes[index]],
        probabilities=likely,
        top=[] if likely is None else _top(served.classes, likely, top_k),
        disagreement=None if alone is None else _disagreement(alone.argmax(1).tolist()),
        members=None
        if alone is None
        else [
            MemberPredictionView(
                snapshot_id=share.snapshot_id,
                label=served.classes[int(probabilities.argmax())],
                probabilities=probabilities.tolist(),
            )
            for share, probabilities in zip(served.shares, alone, strict=True)
        ],
    )


def _top(classes: Sequence[str], probabilities: Sequence[float], count: int) -> list[LikelyView]:
    """The likeliest classes, of equals the first."""
    order = sorted(range(len(classes)), key=lambda place: -probabilities[place])
    return [LikelyView(label=classes[place], probability=probabilities[place]) for place in order[:count]]


def _disagreement(classes: Sequence[int]) -> float:
    """Share of pairs of members whose classes differ; 0 of one member."""
    pairs = list(combinations(classes, 2))
    return sum(one != other for one, other in pairs) / len(pairs) if pairs else 0.0


def _no_files(detail: str) -> Problem:
    place = {"pointer": "/images", "code": "invalid", "detail": detail}
    return Problem(422, "request-invalid", "The form is not valid.", errors=[place])
