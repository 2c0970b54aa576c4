"""Downloads what a snapshot or an ensemble is made of, and has the trainer make one file of it.

That is done by a process of its own, since it needs torch and nothing here imports it.
"""

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from app.api.schemas import EnsembleView
from app.client import Client, ClientError

Format = Literal["safetensors", "onnx", "torch-export"]


class CannotExport(ClientError):
    """Why there is no file, and what to do about it."""


def export(client: Client, id: str, kind: Format, folder: Path) -> None:
    """Write a snapshot, an ensemble, or the one that a job makes, into `folder`. Raises `ClientError`."""
    if find_spec("torch") is None:
        raise CannotExport("Exporting needs PyTorch here: pip install 'annealer[worker]'.")
    if id.startswith("snap_"):
        wish: dict[str, Any] = {"combine": "mean", "temperature": None}
        weights = {id: 1.0}
    else:
        ensemble = client.ensemble(id)
        wish, weights = _combination(ensemble), _weights(ensemble)
    with tempfile.TemporaryDirectory(prefix="annealer-export-") as scratch:
        members = []
        for place, (snapshot_id, weight) in enumerate(weights.items()):
            path = Path(scratch) / f"{place}.safetensors"
            client.download(client.snapshot(snapshot_id), path)
            members.append({"snapshot_id": snapshot_id, "path": str(path), "weight": weight})
        _run(json.dumps(wish | {"members": members}), kind, folder)


def _weights(ensemble: EnsembleView) -> dict[str, float]:
    if ensemble.scores is None:
        raise CannotExport(f"Ensemble {ensemble.id} is not scored yet; watch its job.")
    return {member.snapshot_id: member.weight for member in ensemble.members if member.weight}


def _combination(ensemble: EnsembleView) -> dict[str, Any]:
    report = ensemble.report
    return {
        "combine": ensemble.spec["combine"] if ensemble.spec else "mean",
        "temperature": report.temperature.value if report and report.temperature else None,
    }


def _run(wish: str, kind: Format, folder: Path) -> None:
    command = [sys.executable, "-m", "trainer.export", "--format", kind, "--out", str(folder)]
    done = subprocess.run(command, input=wish, capture_output=True, text=True)
    if done.returncode:
        *_, last = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise CannotExport(f"The export failed: {last}")
