"""How a training child tells its supervisor what happened: one JSON message an event.

Tensors do not travel: the child writes them to a file in the scratch folder and sends its name. Python's
JSON writes floats so that they come back as the same float, to the bit.
"""

import json
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, cast, get_args, get_origin, get_type_hints

from trainer import events

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
    tensors: dict[str, Any] = {field.name: {} for field in fields(kind) if field.name in TENSORS}
    return Message(_revive(kind, {**document["body"], **tensors}), document["file"])


def _plain(value: object) -> Any:
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return dict(value)  # type: ignore[call-overload]


def _revive(hint: Any, value: Any) -> Any:
    """JSON's value as the dataclass, or tuple of them, that the type hint names."""
    if is_dataclass(hint):
        hints = _hints(cast("type", hint))
        return hint(**{name: _revive(hints[name], part) for name, part in value.items()})  # type: ignore[operator]
    if get_origin(hint) is tuple:
        item, _ = get_args(hint)
        return tuple(_revive(item, part) for part in value)
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    # Events name tensors without importing torch.
    return get_type_hints(kind, localns={"Tensor": object})
