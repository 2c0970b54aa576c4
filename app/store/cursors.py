"""Where a list goes on: opaque to clients, bound to the query that it came from."""

import base64
import binascii
import json
from hashlib import blake2b
from typing import Any

from app.store.errors import CursorInvalid


def encode(query: Any, position: list[str]) -> str:
    """The place after the row at `position` in the list of `query` (anything that JSON can hold)."""
    document = json.dumps([_digest(query), *position])
    return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")


def decode(query: Any, cursor: str, length: int) -> list[str]:
    """The position, of `length` strings. Raises `CursorInvalid` for a damaged cursor or another query's."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        document = json.loads(base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise CursorInvalid("The cursor is damaged; take it unchanged from next_cursor.") from None
    if not isinstance(document, list) or not all(isinstance(part, str) for part in document):
        raise CursorInvalid("The cursor is damaged; take it unchanged from next_cursor.")
    if len(document) != length + 1 or document[0] != _digest(query):
        raise CursorInvalid("The cursor belongs to a list with other filters or another order.")
    return document[1:]


def _digest(query: Any) -> str:
    return blake2b(json.dumps(query, sort_keys=True).encode(), digest_size=8).hexdigest()
