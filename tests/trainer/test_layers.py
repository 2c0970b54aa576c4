"""Shapes, weights and costs by arithmetic, against torch where it can tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.specs import spec
from trainer import networks
from trainer.build import skeleton
from trainer.layers import Convolution, Linear, Pool, ShapeMismatch, table


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
    ],
)
def test_the_table_agrees_with_the_torch_modules(network: dict[str, object]) -> None:
    import torch

    shape = (1, 28, 28)
    rows = table(networks.describe(spec(network=network).network, shape, 10), shape)
    model = skeleton(spec(network=network), shape, 10).eval()

    assert sum(row.weights + row.biases for row in rows) == parameters(model)
    units = model[0](torch.zeros(2, *shape, dtype=torch.uint8))
    for row, module in zip(rows, list(model)[1:], strict=True):
        units = module(units)
        assert tuple(units.shape) == (2, *row.output_shape), row.name


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


def test_a_misfit_names_the_layer_and_the_shapes() -> None:
    with pytest.raises(ShapeMismatch, match="Layer 1 \\(second\\) is given 2×2×2: pooling 3×3"):
        table([Pool("first", "max", 2), Pool("second", "max", 3)], (2, 4, 4))


def test_a_linear_layer_refuses_another_number_of_features() -> None:
    with pytest.raises(ShapeMismatch, match="takes 5 features"):
        table([Linear("output", 5, 2)], (4,))
