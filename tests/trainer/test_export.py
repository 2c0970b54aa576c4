"""Exported networks answer as we do, in other programs too."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.specs import spec
from trainer import build, data, export, preprocess, snapshot
from trainer.combine import Combination
from trainer.errors import CannotExport
from trainer.export import Format, Part
from trainer.predict import predict

IMAGES = data.load("mnist5k").validation.images[:100]
CONVNET: dict[str, Any] = {"kind": "convnet", "channels": [4, 6], "batch_norm": {}, "dropout": {"drop": 0.3}}
WHITENED: dict[str, Any] = {"centre": "per_pixel", "whitening": {"kind": "zca", "epsilon": 0.1}}


def parts(folder: Path, wishes: Sequence[dict[str, Any]], weights: Sequence[float]) -> list[Part]:
    """Snapshots of networks of these specs that answer unlike each other."""
    made = []
    train = data.load("mnist5k").train.images[:300]
    for place, (wish, weight) in enumerate(zip(wishes, weights, strict=True)):
        asked = spec(**wish)
        model = build.skeleton(asked, (1, 28, 28), 10)
        draws = torch.Generator().manual_seed(place)
        for name, value in model.state_dict().items():
            if value.is_floating_point() and not name.endswith("running_var"):
                value.copy_(0.5 * torch.randn(value.shape, generator=draws))
        model.preprocessing.load_state_dict(preprocess.fitted(asked.preprocessing, train).state_dict())
        provenance = {
            "spec": asked.model_dump(mode="json"),
            "input_shape": [1, 28, 28],
            "classes": list("0123456789"),
        }
        path = folder / f"{place}.safetensors"
        snapshot.write(path, model.state_dict(), provenance)
        made.append(Part(f"snap_{place}", path, weight))
    return made


def ours(found: Sequence[Part], how: Combination, heat: float | None, images: Any) -> Any:
    members = [(snapshot.load(part.path)[0], part.weight) for part in found]
    predicted = predict(members, how, heat, torch.tensor(images)).probabilities
    assert predicted is not None
    return predicted.numpy()


def run(path: Path, kind: Format, images: Any) -> Any:
    match kind:
        case "onnx":
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            return session.run(["probabilities"], {"images": images})[0]
        case "torch-export":
            return torch.export.load(path).module()(torch.tensor(images)).detach().numpy()
        case "safetensors":
            return export.load(path)[0](torch.tensor(images)).detach().numpy()


@pytest.mark.parametrize("kind", ["safetensors", "onnx", "torch-export"])
@pytest.mark.parametrize(
    ("wishes", "weights", "how", "heat"),
    [
        ([{}], [1.0], "mean", None),
        ([{"network": CONVNET}, {"network": CONVNET}, {}], [0.5, 0.3, 0.2], "mean", 1.7),
        ([{"network": CONVNET}, {"preprocessing": WHITENED}], [2.0, 1.0], "geometric_mean", None),
    ],
    ids=["single", "mean", "geometric"],
)
def test_an_exported_network_answers_as_we_do(
    wishes: list[dict[str, Any]],
    weights: list[float],
    how: Literal["mean", "geometric_mean"],
    heat: float | None,
    kind: Format,
    tmp_path: Path,
) -> None:
    made = parts(tmp_path, wishes, weights)
    expected = ours(made, how, heat, IMAGES)

    path = export.export(made, how, heat, kind, tmp_path / "out")

    assert np.ptp(expected) > 0.3
    np.testing.assert_allclose(run(path, kind, IMAGES), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(run(path, kind, IMAGES[:1]), expected[:1], rtol=0, atol=1e-5)


def test_an_onnx_file_is_sound_and_holds_its_labels_and_origin(tmp_path: Path) -> None:
    path = export.export(parts(tmp_path, [{}], [1.0]), "mean", None, "onnx", tmp_path / "out")

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    (held,) = [one.value for one in model.metadata_props if one.key == "annealer"]
    described = json.loads((tmp_path / "out" / "annealer.json").read_text())
    assert json.loads(held) == described
    assert described["classes"] == list("0123456789")
    assert described["members"][0]["snapshot_id"] == "snap_0"
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["annealer.json", "model.onnx"]
    (taken,) = model.graph.input
    assert taken.type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_the_same_snapshots_give_the_same_safetensors_file(tmp_path: Path) -> None:
    made = parts(tmp_path, [{}, {}], [1.0, 1.0])

    files = [export.export(made, "mean", None, "safetensors", tmp_path / name).read_bytes() for name in "ab"]

    assert files[0] == files[1]


def test_a_vote_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(CannotExport, match="no probabilities"):
        export.export(parts(tmp_path, [{}], [1.0]), "majority_vote", None, "onnx", tmp_path / "out")


def test_snapshot_files_are_exported_without_a_service(tmp_path: Path) -> None:
    files = [part.path for part in parts(tmp_path, [{}, {}], [1.0, 1.0])]

    export.main([*map(str, files), "--format", "safetensors", "--out", str(tmp_path / "out")])

    _, described = export.load(tmp_path / "out" / "model.safetensors")
    assert [(one["snapshot_id"], one["weight"]) for one in described["members"]] == [("0", 1.0), ("1", 1.0)]


def test_a_file_that_is_no_snapshot_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no snapshot")

    with pytest.raises(SystemExit) as refused:
        export.main([str(tmp_path / "text"), "--out", str(tmp_path / "out")])

    assert refused.value.code not in (0, None)
