"""Asks prediction workers, for one API process, and hands each answer to the request that waits for it.

One task reads the answers of all requests. What is held at once is bounded, in requests and in bytes, and no request
waits longer than the deadline, whatever becomes of broker and workers.
"""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app import telemetry
from app.errors import RETRY_SECONDS, Problem
from app.questions import ALIVE, STREAM, Failure, Found, Model, Question, unpacked
from app.settings import Settings

log = structlog.get_logger()

BROKER_SECONDS = 3.0
LISTEN_SECONDS = 1.0
DECODERS = 4
"""Requests whose images are decoded at the same time: a decoded photograph is many times its file."""

FAILURES: dict[Failure, tuple[int, str]] = {
    "unavailable": (503, "database-unavailable"),
    "damaged": (409, "model-damaged"),
    "not_finite": (409, "model-not-finite"),
    "out_of_memory": (503, "prediction-out-of-memory"),
    "crashed": (503, "prediction-crashed"),
}


class Predictor:
    """What this process asks, and who waits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._broker = Redis.from_url(
            settings.broker_url.get_secret_value(),
            socket_connect_timeout=1.0,
            socket_timeout=BROKER_SECONDS,
        )
        self._reply = f"annealer:answers:{uuid.uuid4().hex}"
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._requests = 0
        self._bytes = 0
        self._listener: asyncio.Task[None] | None = None
        self.decoding = asyncio.Semaphore(DECODERS)

    @contextmanager
    def room(self, size: int, requests: int = 1) -> Iterator[None]:
        """A place for a request, or for so many bytes more of one. Raises `Problem` where all are taken."""
        settings = self._settings
        if self._requests + requests > settings.predict_requests or self._bytes + size > settings.predict_held_bytes:
            telemetry.PREDICTIONS_REFUSED.inc()
            detail = "So many images wait for their prediction that no more are taken; try again in a moment."
            raise Problem(503, "predictions-busy", detail, headers={"Retry-After": "1"})
        self._requests, self._bytes = self._requests + requests, self._bytes + size
        telemetry.PREDICTIONS_HELD.inc(requests)
        try:
            yield
        finally:
            self._requests, self._bytes = self._requests - requests, self._bytes - size
            telemetry.PREDICTIONS_HELD.dec(requests)

    async def ask(self, model: Model, images: NDArray[np.uint8], *, members: bool) -> Found:
        """What `model` says of `images` (N, C, H, W), within the deadline. Raises `Problem`."""
        began, problem = monotonic(), "client-gone"
        try:
            found = await self._ask(model, images, members)
            problem = telemetry.NO_PROBLEM
            telemetry.PREDICTED_IMAGES.inc(len(images))
            return found
        except Problem as error:
            problem = error.type
            raise
        finally:
            telemetry.PREDICTION_SECONDS.labels(problem).observe(monotonic() - began)

    async def _ask(self, model: Model, images: NDArray[np.uint8], members: bool) -> Found:
        id = uuid.uuid4().hex
        count, channels, height, width = images.shape
        seconds = self._settings.predict_seconds
        question = Question(
            id=id,
            reply=self._reply,
            seconds=seconds,
            model=model,
            shape=(count, channels, height, width),
            members=members,
        )
        answer = self._waiting[id] = asyncio.get_running_loop().create_future()
        entry: bytes | None = None
        try:
            with self.room(images.nbytes, requests=0):
                async with asyncio.timeout(seconds):
                    entry = await self._put(question, images)
                    head, found = unpacked(await answer)
        except TimeoutError:
            detail = f"No prediction worker has answered within {seconds:g} s; try again in a moment."
            raise _away("prediction-timeout", detail) from None
        except (RedisError, OSError) as error:
            log.warning("broker is away; nothing can be predicted", error=type(error).__name__)
            raise _away("broker-unavailable", "The broker cannot be reached; try again in a moment.") from None
        finally:
            del self._waiting[id]
            if not answer.done():
                await self._take_back(entry)
        if found is None:
            assert head.failure is not None
            status, type_ = FAILURES[head.failure]
            raise _away(type_, head.detail) if status == 503 else Problem(status, type_, head.detail)
        return found

    async def close(self) -> None:
        """Ask and hear nothing more."""
        if self._listener is not None:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener
        await self._broker.aclose()

    async def _put(self, question: Question, images: NDArray[np.uint8]) -> bytes:
        """Put a question where workers find it. Raises `Problem` where none lives."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen())
        fields = {b"question": question.model_dump_json().encode(), b"images": images.tobytes()}
        async with self._broker.pipeline(transaction=False) as pipeline:
            pipeline.exists(ALIVE)
            pipeline.xadd(STREAM, fields)  # type: ignore[arg-type]
            is_alive, entry = await pipeline.execute()
        if not is_alive:
            await self._take_back(entry)
            detail = "No prediction worker is running: `annealer up` starts one, or `python -m worker.prediction`."
            raise _away("no-prediction-worker", detail)
        taken: bytes = entry
        return taken

    async def _take_back(self, entry: bytes | None) -> None:
        """Ask no longer; a worker that has begun finds nobody waiting."""
        if entry is None:
            return
        with suppress(RedisError, OSError, TimeoutError):
            await self._broker.xdel(STREAM, entry)

    async def _listen(self) -> None:
        while self._waiting:
            try:
                found: Any = await self._broker.blpop([self._reply], timeout=LISTEN_SECONDS)
            except (RedisError, OSError) as error:
                log.warning("answers could not be read", error=type(error).__name__)
                await asyncio.sleep(0.5)
                continue
            if found is not None:
                self._hand_on(found[1])

    def _hand_on(self, message: bytes) -> None:
        try:
            head, _ = unpacked(message)
        except ValueError as error:
            log.warning("an answer could not be read", error=type(error).__name__)
            return
        waiting = self._waiting.get(head.id)
        # Twice answered, by a worker that was taken for dead, or too late.
        if waiting is not None and not waiting.done():
            waiting.set_result(message)


def _away(type: str, detail: str) -> Problem:
    return Problem(503, type, detail, headers={"Retry-After": str(RETRY_SECONDS)})
