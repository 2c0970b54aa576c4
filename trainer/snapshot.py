"""Snapshots as files: a network's weights with their provenance, enough to predict with nothing else at hand."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from trainer import build, tensorfile
from trainer.events import Scores
from trainer.learner import Learner
from trainer.spec import TrainingSpec


def provenance(learner: Learner, number: int, found: Scores, environment: Mapping[str, str]) -> dict[str, Any]:
    """Where the weights come from that `learner` has by now, and what they score on the validation split."""
    spec, data = learner.spec, learner.data
    return {
        "spec": spec.model_dump(mode="json"),
        "spec_sha256": spec.sha256,
        "dataset": {"name": data.name, "sha256": data.sha256},
        "classes": list(data.classes),
        "input_shape": list(data.facts.shape),
        "number": number,
        "member": learner.member + 1,
        "seed": learner.seed,
        "epoch": learner.epochs_done,
        "step": learner.step,
        "sparsity": learner.mask.sparsity() if learner.mask else 0.0,
        "scores": asdict(found),
        "environment": dict(environment),
    }


def write(path: Path, weights: Mapping[str, Tensor], provenance: Mapping[str, Any]) -> None:
    """Store a snapshot; the same snapshot gives the same bytes."""
    tensorfile.write(path, weights, provenance)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights by name and provenance. Raises `ValueError` for any other file."""
    return tensorfile.read(path)


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network, ready to predict (uint8 images in, logits out), and its provenance. Raises `ValueError`."""
    weights, provenance = read(path)
    model = skeleton(provenance)
    model.load_state_dict(weights)
    return model.eval(), provenance


def skeleton(provenance: Mapping[str, Any]) -> nn.Module:
    """The network that a provenance tells of, without its weights."""
    spec = TrainingSpec.model_validate(provenance["spec"], strict=False)
    channels, height, width = provenance["input_shape"]
    return build.skeleton(spec, (channels, height, width), len(provenance["classes"]))
