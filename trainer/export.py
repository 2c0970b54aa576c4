"""Snapshots as one network for other programs: uint8 images in, probabilities out. `python -m trainer.export` runs it.

Preprocessing, every member, their combination and the temperature are inside the graph. Beside the file lies
`annealer.json`, which the file holds too: labels, the size of images, shares and where each member comes from.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import log
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from trainer import snapshot, tensorfile
from trainer.combine import Combination
from trainer.errors import CannotExport
from trainer.events import Advanced, Event, FileWritten, PhaseStarted, TaskFinished
from trainer.spec.exporting import SUFFIXES, Format, ResolvedExport

DESCRIPTION = "annealer.json"
KEY = "annealer"
EXAMPLES = 2
"""Images that graphs are traced with: of one, a batch of any size could not be told from a single image."""


@dataclass(frozen=True)
class Part:
    """A snapshot's file and its weight."""

    snapshot_id: str
    path: Path
    weight: float


class Exported(nn.Module):
    """Probabilities (N, K) float32 of images (N, C, H, W) uint8: those of all members, combined and scaled."""

    def __init__(
        self,
        members: Sequence[nn.Module],
        weights: Sequence[float],
        combine: Literal["mean", "geometric_mean"],
        temperature: float | None,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.shares = [weight / sum(weights) for weight in weights]
        self.combine = combine
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        alone = [member(images).log_softmax(1) for member in self.members]
        if self.combine == "mean":
            weighted = [found + log(share) for found, share in zip(alone, self.shares, strict=True)]
            together = torch.stack(weighted).logsumexp(0)
        else:
            together = torch.stack([found * share for found, share in zip(alone, self.shares, strict=True)]).sum(0)
        return (together if self.temperature is None else together / self.temperature).softmax(1)


def export(parts: Sequence[Part], how: Combination, temperature: float | None, kind: Format, folder: Path) -> Path:
    """Write `model.…`, which is returned, and `annealer.json` into `folder`, which is made. Raises `CannotExport`."""
    if how == "majority_vote":
        raise CannotExport("A majority vote has no probabilities; export an ensemble that is combined by a mean.")
    loaded = [snapshot.load(part.path) for part in parts]
    described = _description(parts, [origin for _, origin in loaded], how, temperature)
    model = Exported([network for network, _ in loaded], [part.weight for part in parts], how, temperature).eval()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"model.{SUFFIXES[kind]}"
    WRITERS[kind](model, described, path)
    (folder / DESCRIPTION).write_text(json.dumps(described, indent=2) + "\n")
    return path


def events(spec: ResolvedExport, paths: Sequence[Path], folder: Path) -> Iterator[Event]:
    """Export as a spec says; `paths` are the files of the model's members, in order. Raises `CannotExport`."""
    model = spec.model
    yield PhaseStarted("exporting")
    parts = [Part(one.snapshot_id, path, one.weight) for one, path in zip(model.members, paths, strict=True)]
    export(parts, model.combine, model.temperature, spec.format, folder)
    yield Advanced(1, 1)
    for path in sorted(folder.iterdir()):
        media_type = "application/json" if path.suffix == ".json" else "application/octet-stream"
        yield FileWritten(path.name, media_type, path.stat().st_size)
    yield TaskFinished()


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of an exported safetensors file, and its description. Raises `ValueError`."""
    tensors, described = tensorfile.read(path)
    members = [snapshot.skeleton(member["provenance"]) for member in described["members"]]
    weights = [member["weight"] for member in described["members"]]
    model = Exported(members, weights, described["combine"], described["temperature"])
    model.load_state_dict(tensors)
    return model.eval(), described


def _description(
    parts: Sequence[Part], origins: Sequence[Mapping[str, Any]], how: Combination, temperature: float | None
) -> dict[str, Any]:
    return {
        "format": 1,
        "classes": origins[0]["classes"],
        "input": {"shape": origins[0]["input_shape"], "dtype": "uint8", "layout": "NCHW"},
        "output": "probabilities",
        "combine": how,
        "temperature": temperature,
        "members": [
            {"snapshot_id": part.snapshot_id, "weight": part.weight, "provenance": dict(origin)}
            for part, origin in zip(parts, origins, strict=True)
        ],
        "exported_with": {"annealer": version("annealer"), "torch": torch.__version__},
    }


def _write_safetensors(model: Exported, described: Mapping[str, Any], path: Path) -> None:
    tensorfile.write(path, model.state_dict(), described)


def _write_torch_export(model: Exported, described: Mapping[str, Any], path: Path) -> None:
    torch.export.save(_traced(model, described), path, extra_files={DESCRIPTION: json.dumps(described)})


def _write_onnx(model: Exported, described: Mapping[str, Any], path: Path) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ImportError:
        raise CannotExport("ONNX needs two packages: pip install onnx onnxscript.") from None
    with warnings.catch_warnings():
        # torch's exporter calls what torch has deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.onnx.export(
            _traced(model, described), input_names=["images"], output_names=["probabilities"], verbose=False
        )
    assert program is not None
    written = program.model_proto
    # The description is part of the file, and so are the weights: 2 GiB at most, by the format.
    written.metadata_props.add(key=KEY, value=json.dumps(described))
    onnx.checker.check_model(written, full_check=True)
    onnx.save_model(written, path)


WRITERS = {"safetensors": _write_safetensors, "onnx": _write_onnx, "torch-export": _write_torch_export}


def _traced(model: Exported, described: Mapping[str, Any]) -> torch.export.ExportedProgram:
    """The graph, for batches of any size."""
    images = torch.zeros((EXAMPLES, *described["input"]["shape"]), dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        return torch.export.export(model, (images,), dynamic_shapes={"images": {0: batch}})


def main(arguments: list[str] | None = None) -> None:
    """Make one network of snapshots, files of `python -m trainer` or of `annealer`, in equal shares."""
    parser = argparse.ArgumentParser(prog="python -m trainer.export", description=main.__doc__)
    parser.add_argument("snapshots", nargs="+", type=Path, metavar="SNAPSHOT", help="a safetensors file")
    parser.add_argument("--format", default="onnx", choices=get_args(Format))
    parser.add_argument("--combine", default="mean", choices=["mean", "geometric_mean"])
    parser.add_argument("--out", required=True, type=Path, help="folder for the files")
    asked = parser.parse_args(arguments)
    parts = [Part(path.stem, path, 1.0) for path in asked.snapshots]
    try:
        export(parts, asked.combine, None, asked.format, asked.out)
    except (CannotExport, OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
