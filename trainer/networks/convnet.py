"""Plain convolutional networks of equal blocks."""

from math import prod

from trainer import spec
from trainer.layers import Convolution, Flatten, Layer, Linear, Pool, Shape, table
from trainer.networks.blocks import dropped, normalized


def layers(network: spec.ConvNet, shape: Shape, classes: int) -> tuple[Layer, ...]:
    """Blocks of convolution, batch norm, nonlinearity, max pooling; then flatten, dropout, linear."""
    built: list[Layer] = []
    inputs = shape[0]
    for number, channels in enumerate(network.channels, start=1):
        built.append(Convolution(f"conv{number}", inputs, channels, network.kernel_size, padding=network.padding))
        built.extend(normalized(network, number, channels))
        if network.pool_size > 1:
            built.append(Pool(f"pool{number}", "max", network.pool_size))
        inputs = channels
    features = prod(table(built, shape)[-1].output_shape)
    return (*built, Flatten("flatten"), *dropped(network, "dropout"), Linear("output", features, classes))
