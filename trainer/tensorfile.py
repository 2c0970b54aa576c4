"""Tensors and a header in a safetensors file: no code in it, and the same content is the same bytes."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainer import header as headers


def write(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """All or nothing: the file has its name once it is whole and on the disk."""
    partial = path.with_name(path.name + ".partial")
    try:
        save_file(dict(tensors), partial, headers.written(header))
    except SafetensorError as error:
        raise _system_error(error, partial) from error
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors on the CPU and the header. Raises `ValueError` where the file is none of ours, or `OSError`."""
    try:
        with safe_open(path, framework="pt") as file:
            header = headers.read(file.metadata())
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118 (no mapping)
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name} is not a file of Annealer's: {error}") from error


def _system_error(error: SafetensorError, path: Path) -> Exception:
    """What the system refused, where the message tells: a full disk, for one, is no fault of the file."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1])), str(path)) if found else error
