"""How a training child tells its supervisor what happened: one JSON message an event.

Tensors do not travel: the child writes them to a file in the scratch folder and sends its name. Python's
JSON writes floats so that they come back as the same float, to the bit.
"""

import json
from dataclasses import dataclass, fields
from typing import Any

from trainer import events
from trainer.events import EnsembleMember, Scores

TENSORS = {"weights", "tensors"}

KINDS = {kind.__name__: kind for kind in events.Event.__args__}


@dataclass(frozen=True)
class Failed:
    """The training ended with an error. `step` is the last one it reported, 0 before the first."""

    failure_class: str
    code: str
    message: str
    detail: dict[str, Any]
    hint: str | None
    step: int


@dataclass(frozen=True)
class Message:
    """An event and, where it carries tensors, the name of the file in the scratch folder that holds them."""

    event: events.Event | Failed
    file: str | None = None


def encode(message: Message) -> bytes:
    """The message as JSON, without tensors."""
    event = message.event
    body = {field.name: getattr(event, field.name) for field in fields(event) if field.name not in TENSORS}
    return json.dumps({"kind": type(event).__name__, "file": message.file, "body": body}, default=_plain).encode()


def decode(data: bytes) -> Message:
    """What `encode` was given, with empty mappings where tensors were."""
    document = json.loads(data)
    kind: Any = Failed if document["kind"] == "Failed" else KINDS[document["kind"]]
    body = document["body"]
    for name in ("scores", "single"):
        if name in body:
            body[name] = Scores(**body[name])
    if "members" in body:
        body["members"] = tuple(
            EnsembleMember(member["snapshot"], member["weight"], Scores(**member["scores"]))
            for member in body["members"]
        )
    for name in ("losses", "learning_rates"):
        if name in body:
            body[name] = tuple(body[name])
    tensors: dict[str, Any] = {field.name: {} for field in fields(kind) if field.name in TENSORS}
    return Message(kind(**body, **tensors), document["file"])


def _plain(value: object) -> Any:
    if isinstance(value, Scores | EnsembleMember):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return dict(value)  # type: ignore[call-overload]
