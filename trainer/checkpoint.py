"""Checkpoints as files: all that a training needs to go on to the bit.

No random state is among it: every draw is a function of the seed and the step.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trainer import tensorfile
from trainer.errors import CheckpointDamaged


def write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Store a checkpoint."""
    tensorfile.write(path, tensors, facts)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name and facts. Raises `CheckpointDamaged`."""
    try:
        return tensorfile.read(path)
    except (ValueError, OSError) as error:
        raise CheckpointDamaged(f"The checkpoint cannot be read: {error}") from error
