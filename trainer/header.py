"""The header of a safetensors file of ours: one JSON document under one key.

The format keeps several keys in no stable order, and the same content is to be the same bytes.
"""

import json
from collections.abc import Mapping
from typing import Any

KEY = "annealer"


def written(header: Mapping[str, Any]) -> dict[str, str]:
    """`header` as the metadata of a file."""
    return {KEY: json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)}


def read(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """The header in the metadata of a file. Raises `KeyError` or `json.JSONDecodeError` where there is none."""
    found: dict[str, Any] = json.loads((metadata or {})[KEY])
    return found
