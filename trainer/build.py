"""Makes torch modules of layer descriptions."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.utils import skip_init

from trainer import layers, networks, preprocess
from trainer.dropout import Dropout
from trainer.layers import Layer, Shape
from trainer.local_response import LocalResponseNorm
from trainer.preprocess import Standardize
from trainer.residual import Residual
from trainer.scalars import ScalarBias, ScalarMultiplier
from trainer.spec import TrainingSpec

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
POOLS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


def build(described: Sequence[Layer], shape: Shape, preprocessing: Standardize) -> nn.Sequential:
    """A network on the CPU: images (N, C, H, W) uint8 of `shape` (C, H, W) in, logits out.

    Modules are named as the rows of the layer table are. Weights of convolutions and linear layers hold whatever
    the memory held: `trainer.initialize` or a snapshot fills them.
    """
    shapes = {row.name: row.input_shape for row in layers.table(described, shape)}
    return nn.Sequential(OrderedDict(preprocessing=preprocessing, **_modules(described, shapes, "")))


def skeleton(spec: TrainingSpec, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """The network of a spec without its weights and statistics, to load a snapshot into."""
    described = networks.describe(spec.network, shape, classes)
    return build(described, shape, preprocess.blank(spec.preprocessing, shape))


def _modules(described: Sequence[Layer], shapes: Mapping[str, Shape], prefix: str) -> OrderedDict[str, nn.Module]:
    """Modules by name; `shapes` are those of inputs, by whole names, which start with `prefix`."""
    return OrderedDict((layer.name, _module(layer, shapes, prefix + layer.name)) for layer in described)


def _module(layer: Layer, shapes: Mapping[str, Shape], name: str) -> nn.Module:
    match layer:
        case layers.Group():
            return nn.Sequential(_modules(layer.layers, shapes, f"{name}."))
        case layers.Residual():
            return Residual(
                _modules(layer.branch, shapes, f"{name}."),
                _modules(layer.shortcut, shapes, f"{name}.shortcut."),
                _modules(layer.after, shapes, f"{name}."),
            )
        case layers.Convolution():
            return _without_weights(
                nn.Conv2d,
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                stride=layer.stride,
                padding=layer.padding,
                bias=layer.bias,
            )
        case layers.Linear():
            return _without_weights(nn.Linear, layer.in_features, layer.out_features)
        case layers.BatchNormalization():
            kind = nn.BatchNorm2d if len(shapes[name]) == 3 else nn.BatchNorm1d
            return kind(layer.features, eps=layer.epsilon, momentum=layer.momentum)
        case layers.LocalResponseNormalization():
            return LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k)
        case layers.Activation():
            return ACTIVATIONS[layer.function]()
        case layers.Pool():
            return POOLS[layer.reduce](layer.size, stride=layer.stride, padding=layer.padding)
        case layers.GlobalAveragePool():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case layers.Drop():
            return Dropout(layer.drop, layer.form)
        case layers.ScalarBias():
            return ScalarBias()
        case layers.ScalarMultiplier():
            return ScalarMultiplier()
        case layers.Flatten():
            return nn.Flatten()
    raise TypeError(f"no module for {type(layer).__name__}")


def _without_weights(kind: type[nn.Module], *arguments: Any, **options: Any) -> nn.Module:
    """Without torch's own initialization, which would draw from the global generator."""
    module: nn.Module = skip_init(kind, *arguments, **options)  # type: ignore[no-untyped-call]
    return module
