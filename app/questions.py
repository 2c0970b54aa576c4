"""What the API asks prediction workers, and what they answer: messages over the broker, without code in them.

A question is an entry of one stream that all prediction workers read as a group; an answer is an element of the list
of the API process that asked. Docs: `docs/decisions/0013-predictions-over-the-broker.md`.
"""

import struct
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

STREAM = "annealer:questions"
GROUP = "prediction"
ALIVE = "annealer:prediction:alive"
"""There while at least one prediction worker has said lately that it lives."""
ALIVE_ON = "annealer:prediction:alive:{host}"
"""The same of one host, for the health check of its container."""
ANSWER_SECONDS = 60
"""How long answers wait for an API that does not take them."""

Failure = Literal["unavailable", "damaged", "not_finite", "out_of_memory", "crashed"]
"""Why a question has no answer: the database is away; a member's file is damaged or gone; a member predicts no numbers;
the device's memory does not suffice; workers have died of it."""

LENGTH = struct.Struct(">I")


class Message(BaseModel):
    """What goes over the broker as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Member(Message):
    """A snapshot, its file and its share."""

    snapshot_id: str
    sha256: str
    weight: float


class Model(Message):
    """What predicts: one snapshot, or several that are combined; probabilities get the temperature last."""

    members: tuple[Member, ...]
    combine: Literal["mean", "geometric_mean", "majority_vote"] = "mean"
    temperature: float | None = None


class Question(Message):
    """What `model` says of images of `shape` (N, C, H, W), whose uint8 bytes travel beside this.

    The answer, with this `id`, is put on the list `reply`; after `seconds` nobody waits for it any more.
    """

    id: str
    reply: str
    seconds: float
    model: Model
    shape: tuple[int, int, int, int]
    members: bool


class Answer(Message):
    """The head of an answer: why there is none, or how many images, classes and members its arrays have."""

    id: str
    failure: Failure | None = None
    detail: str = ""
    images: int = 0
    classes: int = 0
    members: int = 0
    is_vote: bool = False


class Found(BaseModel):
    """What was predicted: class numbers (N,), probabilities (N, K), which votes have not, and of members (M, N, K)."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    classes: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None
    members: NDArray[np.float64] | None


def packed(id: str, found: Found) -> bytes:
    """An answer as the bytes of one message."""
    members = found.members
    reference = members[0] if members is not None else found.probabilities
    head = Answer(
        id=id,
        images=len(found.classes),
        classes=0 if reference is None else reference.shape[1],
        members=0 if members is None else len(members),
        is_vote=found.probabilities is None,
    )
    arrays = [found.classes, *(part for part in (found.probabilities, members) if part is not None)]
    return _headed(head) + b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


def packed_failure(id: str, failure: Failure, detail: str) -> bytes:
    """A refusal as the bytes of one message."""
    return _headed(Answer(id=id, failure=failure, detail=detail))


def unpacked(message: bytes) -> tuple[Answer, Found | None]:
    """The head of an answer and what was predicted. Raises `ValueError` for any other bytes."""
    if len(message) < LENGTH.size:
        raise ValueError("an answer is cut short")
    start = LENGTH.size + LENGTH.unpack_from(message)[0]
    head = Answer.model_validate_json(message[LENGTH.size : start])
    if head.failure:
        return head, None
    of_one = head.images * head.classes
    sizes = (head.images, 0 if head.is_vote else of_one, of_one * head.members)
    if len(message) - start != 8 * sum(sizes):
        raise ValueError("an answer is cut short")
    classes = np.frombuffer(message, np.int64, head.images, start)
    rest = np.frombuffer(message, np.float64, sum(sizes[1:]), start + 8 * head.images)
    together = None if head.is_vote else rest[:of_one].reshape(head.images, head.classes)
    members = rest[sizes[1] :].reshape(head.members, head.images, head.classes) if head.members else None
    return head, Found(classes=classes, probabilities=together, members=members)


def _headed(head: Answer) -> bytes:
    text = head.model_dump_json().encode()
    return LENGTH.pack(len(text)) + text
