"""What networks are made of: layers as plain values that know their shapes, weights and cost.

Both the layer table, which needs no torch, and the torch modules (`trainer.build`) come from this one
description. Shapes are of one image: `(channels, height, width)` or `(features,)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

Shape = tuple[int, ...]


class Misfit(Exception):
    """A layer cannot take the shape that it is given; the message says why."""


class ShapeMismatch(Exception):
    """The layer at `index` (from 0) does not fit what comes before it."""

    def __init__(self, index: int, layer: "Layer", input_shape: Shape, reason: str) -> None:
        super().__init__(f"Layer {index} ({layer.name}) is given {show(input_shape)}: {reason}")
        self.index = index
        self.layer = layer
        self.input_shape = input_shape


@dataclass(frozen=True)
class Layer:
    """A step of a network. Without weights, and shape-preserving, unless a subclass says otherwise."""

    name: str

    @property
    def weights(self) -> int:
        """Learned numbers other than biases."""
        return 0

    @property
    def biases(self) -> int:
        """Learned offsets."""
        return 0

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the output for an input of `shape`. Raises `Misfit`."""
        return shape

    def multiply_adds(self, shape: Shape) -> int:
        """Multiply-add operations for one image of `shape`, forward."""
        return 0


@dataclass(frozen=True)
class Convolution(Layer):
    """Square kernels, zero padding, one bias a channel."""

    in_channels: int
    out_channels: int
    kernel_size: int
    padding: int = 0
    stride: int = 1

    @property
    def weights(self) -> int:
        return self.out_channels * self.in_channels * self.kernel_size**2

    @property
    def biases(self) -> int:
        return self.out_channels

    def output_shape(self, shape: Shape) -> Shape:
        _, height, width = _image(shape)
        padded = min(height, width) + 2 * self.padding
        if self.kernel_size > padded:
            raise Misfit(
                f"its {self.kernel_size}×{self.kernel_size} kernel is larger than the input, which is "
                f"{height + 2 * self.padding}×{width + 2 * self.padding} with its padding."
            )
        return (self.out_channels, self._along(height), self._along(width))

    def multiply_adds(self, shape: Shape) -> int:
        _, height, width = self.output_shape(shape)
        return self.weights * height * width

    def _along(self, size: int) -> int:
        return (size + 2 * self.padding - self.kernel_size) // self.stride + 1


@dataclass(frozen=True)
class Linear(Layer):
    """Fully connected, with biases."""

    in_features: int
    out_features: int

    @property
    def weights(self) -> int:
        return self.in_features * self.out_features

    @property
    def biases(self) -> int:
        return self.out_features

    def output_shape(self, shape: Shape) -> Shape:
        if shape != (self.in_features,):
            raise Misfit(f"it takes {self.in_features} features.")
        return (self.out_features,)

    def multiply_adds(self, shape: Shape) -> int:
        return self.weights


@dataclass(frozen=True)
class BatchNormalization(Layer):
    """Normalises each channel or feature over the batch; its weights are the scales, its biases the shifts."""

    features: int
    epsilon: float
    momentum: float

    @property
    def weights(self) -> int:
        return self.features

    @property
    def biases(self) -> int:
        return self.features

    def multiply_adds(self, shape: Shape) -> int:
        return prod(shape)


@dataclass(frozen=True)
class Activation(Layer):
    """An elementwise nonlinearity."""

    function: Literal["relu", "tanh", "sigmoid"]


@dataclass(frozen=True)
class Pool(Layer):
    """The maximum or the average of windows that do not overlap; what is left over at the edge is dropped."""

    reduce: Literal["max", "average"]
    size: int

    def output_shape(self, shape: Shape) -> Shape:
        channels, height, width = _image(shape)
        if self.size > min(height, width):
            raise Misfit(f"pooling {self.size}×{self.size} windows would leave nothing of it.")
        return (channels, height // self.size, width // self.size)


@dataclass(frozen=True)
class Drop(Layer):
    """Dropout: sets units to zero with probability `drop` in training."""

    drop: float
    form: Literal["inverted", "classic"]


@dataclass(frozen=True)
class Flatten(Layer):
    """An image as one list of features."""

    def output_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)


@dataclass(frozen=True)
class LayerRow:
    """A line of the layer table. `multiply_adds` is for one image, forward."""

    index: int
    name: str
    kind: str
    input_shape: Shape
    output_shape: Shape
    weights: int
    biases: int
    multiply_adds: int


def table(layers: Sequence[Layer], shape: Shape) -> tuple[LayerRow, ...]:
    """The layers with their shapes for an input of `shape`. Raises `ShapeMismatch` at the first misfit."""
    rows = []
    for index, layer in enumerate(layers):
        try:
            output = layer.output_shape(shape)
        except Misfit as misfit:
            raise ShapeMismatch(index, layer, shape, str(misfit)) from None
        cost = layer.multiply_adds(shape)
        kind = type(layer).__name__
        rows.append(LayerRow(index, layer.name, kind, shape, output, layer.weights, layer.biases, cost))
        shape = output
    return tuple(rows)


def show(shape: Shape) -> str:
    """`(3, 32, 32)` as `3×32×32`."""
    return "×".join(str(size) for size in shape)


def _image(shape: Shape) -> Shape:
    if len(shape) != 3:
        raise Misfit("it takes an image: channels, height and width.")
    return shape
