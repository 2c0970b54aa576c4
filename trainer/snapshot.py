"""Snapshots as files: a network's weights with their provenance, enough to predict with nothing else at hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from trainer import build, tensorfile
from trainer.spec import TrainingSpec


def write(path: Path, weights: Mapping[str, Tensor], provenance: Mapping[str, Any]) -> None:
    """Store a snapshot; the same snapshot gives the same bytes."""
    tensorfile.write(path, weights, provenance)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights by name and provenance. Raises `ValueError` for any other file."""
    return tensorfile.read(path)


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network, ready to predict (uint8 images in, logits out), and its provenance. Raises `ValueError`."""
    weights, provenance = read(path)
    spec = TrainingSpec.model_validate(provenance["spec"], strict=False)
    channels, height, width = provenance["input_shape"]
    model = build.skeleton(spec, (channels, height, width), len(provenance["classes"]))
    model.load_state_dict(weights)
    return model.eval(), provenance
