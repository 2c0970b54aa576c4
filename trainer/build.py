"""Makes torch modules of layer descriptions."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.utils import skip_init

from trainer import layers, networks, preprocess
from trainer.dropout import Dropout
from trainer.layers import Layer, Shape
from trainer.preprocess import Standardize
from trainer.spec import TrainingSpec

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
POOLS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


def build(described: Sequence[Layer], shape: Shape, preprocessing: Standardize) -> nn.Sequential:
    """A network on the CPU: images (N, C, H, W) uint8 of `shape` (C, H, W) in, logits out.

    Modules are named as the layers are. Weights of convolutions and linear layers hold whatever the memory
    held: `trainer.initialize` or a snapshot fills them.
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict(preprocessing=preprocessing)
    for layer, row in zip(described, layers.table(described, shape), strict=True):
        modules[layer.name] = _module(layer, row.input_shape)
    return nn.Sequential(modules)


def skeleton(spec: TrainingSpec, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """The network of a spec without its weights and statistics, to load a snapshot into."""
    described = networks.describe(spec.network, shape, classes)
    return build(described, shape, preprocess.blank(spec.preprocessing, shape))


def _module(layer: Layer, shape: Shape) -> nn.Module:
    match layer:
        case layers.Convolution():
            return _without_weights(
                nn.Conv2d,
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                stride=layer.stride,
                padding=layer.padding,
            )
        case layers.Linear():
            return _without_weights(nn.Linear, layer.in_features, layer.out_features)
        case layers.BatchNormalization():
            kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
            return kind(layer.features, eps=layer.epsilon, momentum=layer.momentum)
        case layers.Activation():
            return ACTIVATIONS[layer.function]()
        case layers.Pool():
            return POOLS[layer.reduce](layer.size)
        case layers.Drop():
            return Dropout(layer.drop, layer.form)
        case layers.Flatten():
            return nn.Flatten()
    raise TypeError(f"no module for {type(layer).__name__}")


def _without_weights(kind: type[nn.Module], *arguments: Any, **options: Any) -> nn.Module:
    """Without torch's own initialization, which would draw from the global generator."""
    module: nn.Module = skip_init(kind, *arguments, **options)  # type: ignore[no-untyped-call]
    return module
