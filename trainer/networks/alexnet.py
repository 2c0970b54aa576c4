"""AlexNet on one tower (Krizhevsky 2012), and half of it for small images."""

from collections.abc import Iterator
from math import prod

from trainer import spec
from trainer.layers import Convolution, Flatten, Layer, Linear, LocalResponseNormalization, Pool, Shape, table
from trainer.networks.blocks import dropped, normalized

CHANNELS = {"imagenet": (96, 256, 384, 384, 256), "small": (48, 128, 192, 192, 128)}
UNITS = {"imagenet": 4_096, "small": 2_048}
SMALLEST_IMAGE = {"imagenet": 67, "small": 15}
"""Side, in pixels, that leaves the last pooling one window."""


def layers(network: spec.AlexNet, shape: Shape, classes: int) -> tuple[Layer, ...]:
    """Five convolutions, pooled after the first, second and fifth; two hidden layers with dropout; the output."""
    built = [*_convolutions(network, shape[0]), Flatten("flatten")]
    features = prod(table(built, shape)[-1].output_shape)
    units = UNITS[network.variant]
    return (
        *built,
        Linear("hidden1", features, units),
        *normalized(network, 6, units),
        *dropped(network, "dropout1"),
        Linear("hidden2", units, units),
        *normalized(network, 7, units),
        *dropped(network, "dropout2"),
        Linear("output", units, classes),
    )


def _convolutions(network: spec.AlexNet, inputs: int) -> Iterator[Layer]:
    first, second, third, fourth, fifth = CHANNELS[network.variant]
    if network.variant == "imagenet":
        yield Convolution("conv1", inputs, first, 11, stride=4)
    else:
        yield Convolution("conv1", inputs, first, 5, padding=2)
    yield from normalized(network, 1, first)
    yield from _response_norm(network, "response_norm1")
    yield Pool("pool1", "max", 3, stride=2)
    yield Convolution("conv2", first, second, 5, padding=2)
    yield from normalized(network, 2, second)
    yield from _response_norm(network, "response_norm2")
    yield Pool("pool2", "max", 3, stride=2)
    yield Convolution("conv3", second, third, 3, padding=1)
    yield from normalized(network, 3, third)
    yield Convolution("conv4", third, fourth, 3, padding=1)
    yield from normalized(network, 4, fourth)
    yield Convolution("conv5", fourth, fifth, 3, padding=1)
    yield from normalized(network, 5, fifth)
    yield Pool("pool5", "max", 3, stride=2)


def _response_norm(network: spec.AlexNet, name: str) -> Iterator[Layer]:
    if network.local_response_norm:
        yield LocalResponseNormalization(name)
