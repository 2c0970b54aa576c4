"""Fixup: residual networks without normalisation (Zhang 2019)."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.specs import dataset, spec
from trainer import networks
from trainer.build import skeleton
from trainer.errors import Diverged
from trainer.events import EpochFinished, LintFound
from trainer.initialize import initialize
from trainer.layers import table
from trainer.train import train

TINY = dataset()


def model(network: dict[str, Any], kind: str = "fixup") -> nn.Module:
    chosen = spec(network={"batch_norm": None, **network, "initialization": {"kind": kind}})
    made = skeleton(chosen, (1, 8, 8), 4)
    initialize(made, chosen.network.initialization, 1)
    return made


def weight(made: nn.Module, name: str) -> torch.Tensor:
    return made.get_submodule(name).get_parameter("weight").detach()


def test_all_but_the_last_layer_of_a_branch_are_he_scaled_by_the_number_of_branches() -> None:
    basic = {"kind": "resnet", "depth": 14}
    made, he = model(basic), model(basic, "he")

    for block in ("stage1.block1", "stage3.block2"):
        expected = weight(he, f"{block}.conv1") * 6 ** (-1 / 2)
        assert torch.allclose(weight(made, f"{block}.conv1"), expected, rtol=1e-6)
        assert weight(made, f"{block}.conv2").abs().max() == 0
    for name in ("conv1", "stage2.block1.shortcut.conv"):
        assert torch.equal(weight(made, name), weight(he, name))
    assert weight(made, "output").abs().max() == 0


def test_branches_of_three_layers_are_scaled_by_the_fourth_root() -> None:
    layers = [
        {"kind": "convolution", "channels": 4},
        *(
            {
                "kind": "residual",
                "branch": [
                    {"kind": "convolution", "channels": 3, "kernel_size": 1},
                    {"kind": "activation"},
                    {"kind": "convolution", "channels": 3, "padding": 1},
                    {"kind": "convolution", "channels": 4, "kernel_size": 1},
                ],
            }
            for _ in range(5)
        ),
        {"kind": "residual", "branch": [{"kind": "convolution", "channels": 4, "padding": 1}]},
    ]
    listed = {"kind": "layers", "layers": layers}
    made, he = model(listed), model(listed, "he")

    for name in ("residual2.conv1", "residual5.conv2"):
        assert torch.allclose(weight(made, name), weight(he, name) * 6 ** (-1 / 4), rtol=1e-6)
    for name in ("residual2.conv3", "residual6.conv1"):
        assert weight(made, name).abs().max() == 0


def test_scalars_stand_before_every_weighted_layer_and_nonlinearity_and_end_every_branch() -> None:
    network = {"kind": "resnet", "depth": 8, "batch_norm": None, "initialization": {"kind": "fixup"}}
    rows = table(networks.describe(spec(network=network).network, (1, 8, 8), 4), (1, 8, 8))

    assert [row.name for row in rows if row.name.startswith(("conv1", "activation1", "stage1", "output"))] == [
        *("conv1_bias", "conv1", "activation1_bias", "activation1"),
        *("stage1.block1.conv1_bias", "stage1.block1.conv1"),
        *("stage1.block1.activation1_bias", "stage1.block1.activation1"),
        *("stage1.block1.conv2_bias", "stage1.block1.conv2", "stage1.block1.multiplier"),
        *("stage1.block1.activation_bias", "stage1.block1.activation"),
        *("output_bias", "output"),
    ]
    assert {row.biases for row in rows if row.kind == "ScalarBias"} == {1}
    assert {row.weights for row in rows if row.kind == "ScalarMultiplier"} == {1}
    assert {row.biases for row in rows if row.kind == "Convolution"} == {0}


def test_scalars_start_at_the_identity_and_get_gradients() -> None:
    made = model({"kind": "resnet", "depth": 8})
    for name, parameter in made.named_parameters():
        if name.endswith(("_bias.bias", "multiplier.weight")):
            assert parameter.tolist() == [1.0 if "multiplier" in name else 0.0], name
    with torch.no_grad():
        for layer in made.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))

    made(torch.tensor(TINY.train.images)).square().sum().backward()

    assert all(item.grad is not None and item.grad.abs().max() > 0 for item in made.parameters())


def test_at_first_a_network_is_its_stem_and_shortcuts() -> None:
    made = model({"kind": "resnet", "depth": 14})
    images = torch.tensor(TINY.train.images)
    units = made.get_submodule("conv1")(made.get_submodule("preprocessing")(images)).relu()

    assert torch.equal(made.get_submodule("stage1")(units), units)
    assert made(images).abs().max() == 0


def final_loss(kind: str, **changes: Any) -> float:
    chosen = spec(
        network={"kind": "resnet", "depth": 56, "batch_norm": None, "initialization": {"kind": kind}},
        batch_size=20,
        epochs=3,
        schedule={"kind": "constant", "learning_rate": 0.05},
        ensemble={"kind": "none"},
        **changes,
    )
    events = list(train(chosen, TINY, device=torch.device("cpu")))
    assert not [event for event in events if isinstance(event, LintFound)]
    return [event.train_loss for event in events if isinstance(event, EpochFinished)][-1]


def test_56_layers_without_batch_norm_train_with_fixup_where_he_diverges() -> None:
    assert final_loss("fixup", inspection={"every": 0, "lint": "refuse"}) < 1.0
    with pytest.raises(Diverged):
        final_loss("he", inspection={"every": 0, "lint": "off"})
