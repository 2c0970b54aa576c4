"""LeNet-5 in its common form (LeCun 1998): plain pooling, every map connected, a linear output layer."""

from math import prod

from trainer import spec
from trainer.layers import Convolution, Flatten, Layer, Linear, Pool, Shape, table
from trainer.networks.blocks import dropped, normalized


def layers(network: spec.LeNet, shape: Shape, classes: int) -> tuple[Layer, ...]:
    """Two blocks of 5×5 convolution and 2×2 pooling, then 120 and 84 units with dropout after each."""
    built: list[Layer] = [
        Convolution("conv1", shape[0], 6, 5, padding=network.padding),
        *normalized(network, 1, 6),
        Pool("pool1", network.pool, 2),
        Convolution("conv2", 6, 16, 5),
        *normalized(network, 2, 16),
        Pool("pool2", network.pool, 2),
        Flatten("flatten"),
    ]
    features = prod(table(built, shape)[-1].output_shape)
    return (
        *built,
        Linear("hidden1", features, 120),
        *normalized(network, 3, 120),
        *dropped(network, "dropout1"),
        Linear("hidden2", 120, 84),
        *normalized(network, 4, 84),
        *dropped(network, "dropout2"),
        Linear("output", 84, classes),
    )
