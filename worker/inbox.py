"""The questions of all API processes, as one prediction worker takes them from the broker.

Whoever takes a question holds it until it is answered. A worker that lives says so, and that it still holds what it
holds; what nobody has said so of for `LOST_SECONDS` is taken by another, three times at most.
"""

import socket
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from app.questions import ALIVE, ALIVE_ON, ANSWER_SECONDS, GROUP, STREAM, Question, packed_failure

log = structlog.get_logger()

BLOCK_MILLISECONDS = 1000
MOST_QUESTIONS = 64
BEAT_SECONDS = 0.5
ALIVE_MILLISECONDS = 3000
LOST_MILLISECONDS = 2000
MOST_DELIVERIES = 3
FORGOTTEN_MILLISECONDS = 3_600_000


@dataclass(frozen=True, eq=False)
class Asked:
    """A question that this worker holds, with its images (N, C, H, W)."""

    entry: bytes
    question: Question
    images: NDArray[np.uint8]


class Inbox:
    """One worker's side of the stream. Its methods raise `RedisError` while the broker is away."""

    def __init__(self, broker_url: str, worker_id: str) -> None:
        self._broker = Redis.from_url(broker_url, socket_connect_timeout=1.0, socket_timeout=5.0)
        self._worker_id = worker_id
        self._held: set[bytes] = set()
        self._lock = threading.Lock()
        self._look_again = 0.0

    def take(self) -> list[Asked]:
        """All questions that wait, which are those that came while the last were answered; none after a second."""
        self._await_group()
        return self._rescued() or self._read()

    def answer(self, answered: Iterable[tuple[Asked, bytes]]) -> None:
        """Send answers, and let go of their questions."""
        with self._broker.pipeline(transaction=False) as pipeline:
            entries = []
            for asked, message in answered:
                pipeline.rpush(asked.question.reply, message)
                pipeline.expire(asked.question.reply, ANSWER_SECONDS)
                entries.append(asked.entry)
            self._let_go(pipeline, entries)
            pipeline.execute()

    def beat(self, stop: threading.Event) -> None:
        """Say until `stop` that this worker lives and holds what it holds."""
        while not stop.is_set():
            try:
                self._beat()
            except RedisError as error:
                log.warning("broker is away", error=type(error).__name__)
            stop.wait(BEAT_SECONDS)

    def close(self) -> None:
        """Leave the group; nothing is held any more."""
        with suppress(RedisError):
            self._broker.xgroup_delconsumer(STREAM, GROUP, self._worker_id)
        self._broker.close()

    def _beat(self) -> None:
        with self._lock:
            held: list[Any] = list(self._held)
        with self._broker.pipeline(transaction=False) as pipeline:
            for key in (ALIVE, ALIVE_ON.format(host=socket.gethostname())):
                pipeline.set(key, self._worker_id, px=ALIVE_MILLISECONDS)
            if held:
                pipeline.xclaim(STREAM, GROUP, self._worker_id, 0, held, justid=True)
            # A broker that was emptied knows no group; it is made again when questions are read.
            pipeline.execute(raise_on_error=False)

    def _await_group(self) -> None:
        if time.monotonic() < self._look_again:
            return
        try:
            self._broker.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        for consumer in self._broker.xinfo_consumers(STREAM, GROUP):
            if not consumer["pending"] and consumer["idle"] > FORGOTTEN_MILLISECONDS:
                self._broker.xgroup_delconsumer(STREAM, GROUP, consumer["name"])

    def _read(self) -> list[Asked]:
        with self._broker.pipeline(transaction=False) as pipeline:
            new: Any = {STREAM: ">"}
            pipeline.xreadgroup(GROUP, self._worker_id, new, count=MOST_QUESTIONS, block=BLOCK_MILLISECONDS)
            pipeline.time()
            found, now = pipeline.execute()
        return self._wanted(self._held_now(found[0][1]), now) if found else []

    def _rescued(self) -> list[Asked]:
        """What a worker has taken that no longer says that it lives."""
        if time.monotonic() < self._look_again:
            return []
        self._look_again = time.monotonic() + BEAT_SECONDS
        idle: Any = self._broker.xpending_range(STREAM, GROUP, "-", "+", MOST_QUESTIONS, idle=LOST_MILLISECONDS)
        if not idle:
            return []
        deliveries = {one["message_id"]: one["times_delivered"] for one in idle}
        claimed: Any = self._broker.xclaim(STREAM, GROUP, self._worker_id, LOST_MILLISECONDS, list(deliveries))
        found = self._held_now(claimed)
        log.warning("questions of a lost worker are taken over", count=len(found))
        deadly = [asked for asked in found if deliveries[asked.entry] >= MOST_DELIVERIES]
        detail = "Prediction workers have ended without a word while they held this request; look at their logs."
        self.answer((asked, packed_failure(asked.question.id, "crashed", detail)) for asked in deadly)
        return self._wanted([asked for asked in found if asked not in deadly], self._broker.time())

    def _held_now(self, entries: Sequence[tuple[bytes, dict[bytes, bytes] | None]]) -> list[Asked]:
        found, broken = [], []
        for entry, fields in entries:
            try:
                question = Question.model_validate_json((fields or {})[b"question"])
                images = np.frombuffer((fields or {})[b"images"], np.uint8).reshape(question.shape)
            except (KeyError, ValueError):
                broken.append(entry)
                continue
            found.append(Asked(entry, question, images))
        with self._lock:
            self._held |= {asked.entry for asked in found}
        self._drop(broken)
        return found

    def _wanted(self, found: list[Asked], now: tuple[int, int]) -> list[Asked]:
        """Without those that nobody waits for any more; `now` is the broker's clock, in seconds and microseconds."""
        seconds = now[0] + now[1] / 1e6
        late = [asked for asked in found if _asked_at(asked.entry) + asked.question.seconds < seconds]
        self._drop([asked.entry for asked in late])
        return [asked for asked in found if asked not in late]

    def _drop(self, entries: Sequence[bytes]) -> None:
        if entries:
            with self._broker.pipeline(transaction=False) as pipeline:
                self._let_go(pipeline, entries)
                pipeline.execute()

    def _let_go(self, pipeline: Any, entries: Sequence[bytes]) -> None:
        with self._lock:
            self._held -= set(entries)
        if entries:
            pipeline.xack(STREAM, GROUP, *entries)
            pipeline.xdel(STREAM, *entries)


def _asked_at(entry: bytes) -> float:
    """When an entry was made, in seconds of the broker's clock: its id begins with the milliseconds."""
    return int(entry.partition(b"-")[0]) / 1000
