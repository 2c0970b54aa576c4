"""The architectures, one family a file: each turns its part of the spec into a list of layers."""

from typing import assert_never

from trainer import spec
from trainer.layers import Layer, Shape
from trainer.networks import convnet, lenet, mlp


def describe(network: spec.Network, shape: Shape, classes: int) -> tuple[Layer, ...]:
    """The layers of `network` for images of `shape` (channels, height, width), ending in `classes` logits.

    Raises `ShapeMismatch` where the layers do not fit the images.
    """
    match network:
        case spec.Mlp():
            return mlp.layers(network, shape, classes)
        case spec.LeNet():
            return lenet.layers(network, shape, classes)
        case spec.ConvNet():
            return convnet.layers(network, shape, classes)
        case _:
            assert_never(network)
