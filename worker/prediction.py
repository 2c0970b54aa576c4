"""`python -m worker.prediction`: answers what the API asks of snapshots and ensembles, beside all training.

Questions that come together are run together, those of one model in one batch. This process trains nothing and claims
no job; several of it share the questions, and one that is killed loses none.
"""

import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from types import FrameType

import numpy as np
import structlog
import torch
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from torch import Tensor

from app import logs
from app.questions import Failure, Found, Model, packed, packed_failure
from app.settings import Settings, SettingsInvalid, load
from app.store import engine, ids, migrate
from app.store.engine import is_unavailable
from app.store.errors import BlobDamaged, StorageAway
from trainer import device
from trainer.errors import DeviceUnavailable
from trainer.predict import Predicted, predict
from worker import scratch
from worker.inbox import Asked, Inbox
from worker.models import Models
from worker.settings import PredictionSettings

log = structlog.get_logger()

AWAY_SECONDS = 0.5
MOST_IMAGES = 2_000
"""Of a batch: more are run in several, so that what one batch holds in memory is bounded."""


def main() -> None:
    """Answer until told to stop."""
    try:
        _run()
    except (SettingsInvalid, DeviceUnavailable, migrate.SchemaMismatch) as error:
        sys.exit(f"annealer prediction worker: {error}")


def _run() -> None:
    logs.configure()
    settings, own = load(Settings), load(PredictionSettings)
    torch.set_num_threads(own.threads)
    chosen = device.choose(own.device)
    database = engine.create(settings.database_url.get_secret_value())
    migrate.check_schema(database)
    worker_id = ids.new("work")
    logs.identify(worker=worker_id)
    folder = own.scratch / worker_id
    scratch.take(folder)
    inbox = Inbox(settings.broker_url.get_secret_value(), worker_id)
    stop = _told_to_stop()
    heart = threading.Thread(target=inbox.beat, args=(stop,), name="heart", daemon=True)
    heart.start()
    log.info("prediction worker ready", device=str(chosen))
    try:
        with device.algorithms(deterministic=True):
            _serve(inbox, Models(database, folder, chosen, own.models_bytes), chosen, stop)
    finally:
        stop.set()
        heart.join()
        inbox.close()
        shutil.rmtree(folder, ignore_errors=True)


def _told_to_stop() -> threading.Event:
    """Set by SIGTERM and SIGINT: what is held is still answered."""
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return stop


def _serve(inbox: Inbox, models: Models, chosen: torch.device, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            for together in _batches(inbox.take()):
                inbox.answer(zip(together, _answers(models, together, chosen), strict=True))
        except RedisError as error:
            log.warning("broker is away", error=type(error).__name__)
            time.sleep(AWAY_SECONDS)


def _batches(asked: Sequence[Asked]) -> Iterator[list[Asked]]:
    """Questions of one model at a time, those of the first question first."""
    by_model: dict[Model, list[Asked]] = {}
    for one in asked:
        by_model.setdefault(one.question.model, []).append(one)
    for alike in by_model.values():
        batch: list[Asked] = []
        for one in alike:
            if batch and sum(len(other.images) for other in batch) + len(one.images) > MOST_IMAGES:
                yield batch
                batch = []
            batch.append(one)
        yield batch


def _answers(models: Models, asked: Sequence[Asked], chosen: torch.device) -> Iterable[bytes]:
    """One for each question, all of one model."""
    try:
        images = torch.from_numpy(np.concatenate([one.images for one in asked])).to(chosen)
        model = asked[0].question.model
        members = [(models.get(member.sha256), member.weight) for member in model.members]
        found = predict(members, model.combine, model.temperature, images)
    except Exception as error:
        failure, detail = _failure(error)
        return [packed_failure(one.question.id, failure, detail) for one in asked]
    ends = np.cumsum([0, *(len(one.images) for one in asked)]).tolist()
    return [_packed(one, found, slice(*span)) for one, span in zip(asked, pairwise(ends), strict=True)]


def _packed(asked: Asked, found: Predicted, span: slice) -> bytes:
    members = found.members[:, span]
    bad = (~members.isfinite().all(2)).nonzero()
    if len(bad):
        member, image = bad[0].tolist()
        snapshot_id = asked.question.model.members[member].snapshot_id
        detail = f"Snapshot {snapshot_id} predicts values for image {image} that are not finite."
        return packed_failure(asked.question.id, "not_finite", detail)
    part = Found(
        classes=found.classes[span].numpy(),
        probabilities=_array(found.probabilities[span]) if found.probabilities is not None else None,
        members=_array(members) if asked.question.members else None,
    )
    return packed(asked.question.id, part)


def _array(values: Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    return values.contiguous().numpy()


def _failure(error: Exception) -> tuple[Failure, str]:
    match error:
        case BlobDamaged():
            log.error("a member cannot be loaded", error=str(error))
            return "damaged", "The file of a member is damaged or gone; nothing can be predicted with it."
        case SQLAlchemyError() | StorageAway() if is_unavailable(error):
            return "unavailable", "The database or the storage cannot be reached; try again in a moment."
        case MemoryError() | torch.OutOfMemoryError():
            return "out_of_memory", "Memory does not suffice for so many images at once; send fewer, or try again."
    log.error("a prediction broke", exc_info=error)
    return "crashed", "The prediction failed; the prediction worker's log tells why."


if __name__ == "__main__":
    main()
