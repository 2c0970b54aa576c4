"""Shapes, weights and costs by arithmetic, against torch where it can tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.specs import spec
from trainer import networks
from trainer.build import skeleton
from trainer.layers import (
    Activation,
    Convolution,
    Flatten,
    Group,
    Layer,
    Linear,
    Pool,
    Residual,
    ShapeMismatch,
    followed,
    names,
    table,
)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_a_3x3_convolution_from_3_channels_to_8_has_216_weights_and_gives_8_channels() -> None:
    (row,) = table([Convolution("conv", 3, 8, 3, padding=1)], (3, 32, 32))

    assert (row.weights, row.biases) == (216, 8)
    assert row.output_shape == (8, 32, 32)
    assert row.multiply_adds == 216 * 32 * 32


@pytest.mark.parametrize(("size", "padding"), [(32, 0), (28, 2)])
def test_lenet_5_has_61706_parameters(size: int, padding: int) -> None:
    network = spec(network={"kind": "lenet", "padding": padding}).network

    rows = table(networks.describe(network, (1, size, size), 10), (1, size, size))

    assert sum(row.weights + row.biases for row in rows) == 61_706


@pytest.mark.parametrize(
    "network",
    [
        {"kind": "mlp"},
        {"kind": "mlp", "hidden": []},
        {"kind": "mlp", "hidden": [5, 7], "batch_norm": {}, "dropout": {"drop": 0.5}},
        {"kind": "lenet", "batch_norm": {}, "dropout": {"drop": 0.5}, "pool": "max"},
        {"kind": "convnet", "channels": [3, 5], "batch_norm": {}, "dropout": {"drop": 0.5}},
        {"kind": "convnet", "channels": [4], "kernel_size": 5, "padding": 0, "pool_size": 1},
        {"kind": "alexnet", "variant": "small", "local_response_norm": True},
        {"kind": "vgg", "depth": 11, "width": 2, "padding": 2, "variant": "small", "batch_norm": {}},
        {"kind": "resnet", "depth": 8, "dropout": {"drop": 0.5}},
        {"kind": "resnet", "depth": 14, "batch_norm": None},
        {"kind": "resnet", "depth": 8, "batch_norm": None, "initialization": {"kind": "fixup"}},
        {"kind": "resnet", "depth": 50, "stem": "small", "dropout": {"drop": 0.5, "after": ["stage1.block1.conv2"]}},
    ],
)
def test_the_table_agrees_with_the_torch_modules(network: dict[str, object]) -> None:
    import torch

    shape = (1, 28, 28)
    rows = table(networks.describe(spec(network=network).network, shape, 10), shape)
    model = skeleton(spec(network=network), shape, 10).eval()

    assert sum(row.weights + row.biases for row in rows) == parameters(model)
    found: dict[str, tuple[int, ...]] = {}
    for row in rows:
        module = model.get_submodule(row.name)
        module.register_forward_hook(lambda _, __, output, name=row.name: found.update({name: tuple(output.shape)}))
    model(torch.zeros(2, *shape, dtype=torch.uint8))
    assert found == {row.name: (2, *row.output_shape) for row in rows}


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 4), st.integers(1, 3))
def test_convolution_shapes_are_those_of_torch(size: int, kernel: int, padding: int, stride: int) -> None:
    import torch

    layer = Convolution("conv", 1, 2, kernel, padding=padding, stride=stride)
    if kernel > size + 2 * padding:
        with pytest.raises(ShapeMismatch, match="larger than the input"):
            table([layer], (1, size, size))
        return
    expected = nn.Conv2d(1, 2, kernel, stride=stride, padding=padding)(torch.zeros(1, 1, size, size))
    assert table([layer], (1, size, size))[0].output_shape == tuple(expected.shape[1:])


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 4), st.integers(0, 4), st.sampled_from(["max", "average"]))
def test_pool_shapes_are_those_of_torch(size: int, window: int, stride: int, padding: int, reduce: str) -> None:
    import torch

    layer = Pool("pool", "max" if reduce == "max" else "average", window, stride, padding)
    if window > size + 2 * padding or 2 * padding > window:
        with pytest.raises(ShapeMismatch, match=r"leave nothing|at most"):
            table([layer], (1, size, size))
        return
    kind = nn.MaxPool2d if reduce == "max" else nn.AvgPool2d
    expected = kind(window, stride=stride, padding=padding)(torch.zeros(1, 1, size, size))
    assert table([layer], (1, size, size))[0].output_shape == tuple(expected.shape[1:])


def test_a_convolution_without_bias_has_only_its_weights() -> None:
    (row,) = table([Convolution("conv", 3, 8, 3, padding=1, bias=False)], (3, 32, 32))

    assert (row.weights, row.biases) == (216, 0)


def block(**changes: tuple[Layer, ...]) -> Residual:
    parts = {
        "branch": (Convolution("conv1", 2, 4, 3, padding=1, stride=2), Convolution("conv2", 4, 4, 3, padding=1)),
        "shortcut": (Convolution("conv", 2, 4, 1, stride=2),),
        "after": (Activation("activation", "relu"),),
    }
    return Residual("block1", **(parts | changes))


def test_a_residual_blocks_arithmetic_is_the_sum_of_its_parts() -> None:
    stage = Group("stage1", (block(),))

    rows = table([stage, Flatten("flatten")], (2, 8, 8))

    assert [(row.index, row.name, row.input_shape, row.output_shape) for row in rows] == [
        (0, "stage1.block1.conv1", (2, 8, 8), (4, 4, 4)),
        (1, "stage1.block1.conv2", (4, 4, 4), (4, 4, 4)),
        (2, "stage1.block1.shortcut.conv", (2, 8, 8), (4, 4, 4)),
        (3, "stage1.block1.activation", (4, 4, 4), (4, 4, 4)),
        (4, "flatten", (4, 4, 4), (64,)),
    ]
    assert stage.output_shape((2, 8, 8)) == (4, 4, 4)
    assert stage.weights == sum(row.weights for row in rows) == 72 + 144 + 8
    assert stage.biases == sum(row.biases for row in rows) == 12
    assert stage.multiply_adds((2, 8, 8)) == sum(row.multiply_adds for row in rows) == (72 + 144 + 8) * 16


def test_what_a_block_cannot_add_is_refused_with_both_shapes() -> None:
    with pytest.raises(
        ShapeMismatch, match="Layer 1 \\(block1\\) is given 2×8×8: its branch gives 4×4×4, to which 2×8×8"
    ):
        table([Activation("activation", "relu"), block(shortcut=())], (2, 8, 8))


def test_a_misfit_inside_a_block_is_told_by_its_whole_name() -> None:
    wrong = block(shortcut=(Convolution("conv", 3, 4, 1, stride=2),))

    with pytest.raises(
        ShapeMismatch, match=r"Layer 2 \(stage1\.block1\.shortcut\.conv\) is given 2×8×8: it takes 3 channels"
    ):
        table([Group("stage1", (wrong,))], (2, 8, 8))


def test_a_layer_is_put_behind_any_other() -> None:
    stage = Group("stage1", (block(),))
    places = {
        name: Activation("new", "relu") for name in ("stage1.block1.conv1", "stage1.block1.shortcut.conv", "stage1")
    }

    assert list(names(followed([stage], places))) == [
        *("stage1", "stage1.block1", "stage1.block1.conv1", "stage1.block1.new", "stage1.block1.conv2"),
        *("stage1.block1.activation", "stage1.block1.shortcut.conv", "stage1.block1.shortcut.new", "new"),
    ]


def test_a_misfit_names_the_layer_and_the_shapes() -> None:
    with pytest.raises(ShapeMismatch, match="Layer 1 \\(second\\) is given 2×2×2: pooling 3×3"):
        table([Pool("first", "max", 2), Pool("second", "max", 3)], (2, 4, 4))


def test_a_linear_layer_refuses_another_number_of_features() -> None:
    with pytest.raises(ShapeMismatch, match="takes 5 features"):
        table([Linear("output", 5, 2)], (4,))
