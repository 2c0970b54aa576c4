"""The architectures, one family a file: each turns its part of the spec into a list of layers."""

from typing import assert_never

from trainer import spec
from trainer.layers import Layer, Shape
from trainer.networks import alexnet, convnet, layer_list, lenet, mlp, resnet, vgg
from trainer.networks.blocks import placed
from trainer.networks.fixup import with_scalars


def describe(network: spec.Network, shape: Shape, classes: int) -> tuple[Layer, ...]:
    """The layers of `network` for images of `shape` (channels, height, width), ending in `classes` logits.

    Raises `ShapeMismatch` where the layers do not fit the images.
    """
    layers = _family(network, shape, classes)
    if isinstance(network.initialization, spec.FixupInitialization):
        layers = with_scalars(layers)
    return placed(network, layers, shape)


def _family(network: spec.Network, shape: Shape, classes: int) -> tuple[Layer, ...]:
    match network:
        case spec.Mlp():
            return mlp.layers(network, shape, classes)
        case spec.LeNet():
            return lenet.layers(network, shape, classes)
        case spec.ConvNet():
            return convnet.layers(network, shape, classes)
        case spec.AlexNet():
            return alexnet.layers(network, shape, classes)
        case spec.Vgg():
            return vgg.layers(network, shape, classes)
        case spec.ResNet():
            return resnet.layers(network, shape, classes)
        case spec.LayerList():
            return layer_list.layers(network, shape, classes)
        case _:
            assert_never(network)
