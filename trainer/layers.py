"""What networks are made of: layers as plain values that know their shapes, weights and cost.

Both the layer table, which needs no torch, and the torch modules (`trainer.build`) come from this one
description. Shapes are of one image: `(channels, height, width)` or `(features,)`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar, Literal

Shape = tuple[int, ...]


class Misfit(Exception):
    """A layer cannot take the shape that it is given; the message says why."""


class ShapeMismatch(Exception):
    """The layer at `index` (from 0, as in the table) does not fit what comes before it; `name` is its whole name."""

    def __init__(self, index: int, name: str, layer: "Layer", input_shape: Shape, reason: str) -> None:
        super().__init__(f"Layer {index} ({name}) is given {show(input_shape)}: {reason}")
        self.index = index
        self.name = name
        self.layer = layer
        self.input_shape = input_shape


@dataclass(frozen=True)
class Layer:
    """A step of a network. Without weights, and shape-preserving, unless a subclass says otherwise.

    `keeps_input` and `keeps_output` tell what a training step keeps of it until the backward pass.
    """

    keeps_input: ClassVar[bool] = False
    keeps_output: ClassVar[bool] = False

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

    def keeps_besides(self, shape: Shape) -> int:
        """Values kept until the backward pass beside input and output, for one image of `shape`."""
        return 0


@dataclass(frozen=True)
class Convolution(Layer):
    """Square kernels, zero padding, one bias a channel unless it has none."""

    keeps_input = True

    in_channels: int
    out_channels: int
    kernel_size: int
    padding: int = 0
    stride: int = 1
    bias: bool = True

    @property
    def weights(self) -> int:
        return self.out_channels * self.in_channels * self.kernel_size**2

    @property
    def biases(self) -> int:
        return self.out_channels if self.bias else 0

    def output_shape(self, shape: Shape) -> Shape:
        channels, height, width = _image(shape)
        if channels != self.in_channels:
            raise Misfit(f"it takes {self.in_channels} channels.")
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

    keeps_input = True

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

    keeps_input = True

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

    keeps_output = True

    function: Literal["relu", "tanh", "sigmoid"]


@dataclass(frozen=True)
class LocalResponseNormalization(Layer):
    """`x / (k + alpha * sum of squares over size neighbouring channels) ** beta` (Krizhevsky 2012)."""

    keeps_input = True

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0

    def output_shape(self, shape: Shape) -> Shape:
        return _image(shape)

    def multiply_adds(self, shape: Shape) -> int:
        return self.size * prod(shape)

    def keeps_besides(self, shape: Shape) -> int:
        """What stands under the root, and the root."""
        return 2 * prod(shape)


@dataclass(frozen=True)
class Pool(Layer):
    """The maximum or the average of windows; what is left over at the edge is dropped.

    Without a `stride` of their own windows do not overlap. `padding` counts as zeros in an average and never wins a
    maximum.
    """

    keeps_input = True

    reduce: Literal["max", "average"]
    size: int
    stride: int | None = None
    padding: int = 0

    def output_shape(self, shape: Shape) -> Shape:
        channels, height, width = _image(shape)
        if self.size > min(height, width) + 2 * self.padding:
            raise Misfit(f"pooling {self.size}×{self.size} windows would leave nothing of it.")
        if 2 * self.padding > self.size:
            raise Misfit(f"the padding of {self.size}×{self.size} windows can be at most {self.size // 2}.")
        return (channels, self._along(height), self._along(width))

    def keeps_besides(self, shape: Shape) -> int:
        """Where each maximum was, in 64 bits."""
        return 2 * prod(self.output_shape(shape)) if self.reduce == "max" else 0

    def _along(self, size: int) -> int:
        return (size + 2 * self.padding - self.size) // (self.stride or self.size) + 1


@dataclass(frozen=True)
class GlobalAveragePool(Layer):
    """The average of each channel over the whole image."""

    def output_shape(self, shape: Shape) -> Shape:
        return (_image(shape)[0],)


@dataclass(frozen=True)
class Drop(Layer):
    """Dropout: sets units to zero with probability `drop` in training."""

    drop: float
    form: Literal["inverted", "classic"]

    def keeps_besides(self, shape: Shape) -> int:
        """Which units were kept."""
        return prod(shape)


@dataclass(frozen=True)
class ScalarBias(Layer):
    """One learned number added to every unit (Zhang 2019)."""

    @property
    def biases(self) -> int:
        return 1


@dataclass(frozen=True)
class ScalarMultiplier(Layer):
    """One learned number that every unit is multiplied by (Zhang 2019)."""

    keeps_input = True

    @property
    def weights(self) -> int:
        return 1

    def multiply_adds(self, shape: Shape) -> int:
        return prod(shape)


@dataclass(frozen=True)
class Flatten(Layer):
    """An image as one list of features."""

    def output_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)


@dataclass(frozen=True)
class Composite(Layer):
    """Layers under one name: in the table theirs are `name.inner`, and all it counts is their sum."""

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The layers that it is made of."""
        raise NotImplementedError

    @property
    def weights(self) -> int:
        return sum(part.weights for part in self.parts)

    @property
    def biases(self) -> int:
        return sum(part.biases for part in self.parts)

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the output for an input of `shape`. Raises `ShapeMismatch`."""
        return table([self], shape)[-1].output_shape

    def multiply_adds(self, shape: Shape) -> int:
        return sum(row.multiply_adds for row in table([self], shape))


@dataclass(frozen=True)
class Group(Composite):
    """Layers one after another, such as a stage."""

    layers: tuple[Layer, ...]

    @property
    def parts(self) -> tuple[Layer, ...]:
        return self.layers


@dataclass(frozen=True)
class Residual(Composite):
    """`after(branch(x) + shortcut(x))` (He 2015); without layers a shortcut is the identity.

    The layers of the shortcut are named `shortcut.inner`, all others by their own names.
    """

    branch: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()
    after: tuple[Layer, ...] = ()

    @property
    def parts(self) -> tuple[Layer, ...]:
        return (*self.branch, *self.shortcut, *self.after)


@dataclass(frozen=True)
class LayerRow:
    """A line of the layer table.

    `multiply_adds` is for one image, forward. `activations` counts the values of one image that training keeps
    until the backward pass, each once, where it is first needed: what a weighted layer was given, what a
    nonlinearity gave.
    """

    index: int
    name: str
    kind: str
    input_shape: Shape
    output_shape: Shape
    weights: int
    biases: int
    multiply_adds: int
    activations: int


def parameters(rows: Iterable[LayerRow]) -> int:
    """Weights and biases of all layers."""
    return sum(row.weights + row.biases for row in rows)


def table(layers: Sequence[Layer], shape: Shape, *, first: int = 0, prefix: str = "") -> tuple[LayerRow, ...]:
    """The layers, those inside others included, for an input of `shape`. Raises `ShapeMismatch` at the first misfit.

    Of a part of a network, `first` is the index of its first row and `prefix` stands before its names.
    """
    walk = _Walk(first)
    walk.through(layers, _Units(shape), prefix)
    return tuple(walk.rows)


def flat(layers: Sequence[Layer]) -> Iterator[Layer]:
    """All layers, each that holds others before those."""
    for layer in layers:
        yield layer
        if isinstance(layer, Composite):
            yield from flat(layer.parts)


def names(layers: Sequence[Layer], prefix: str = "") -> Iterator[str]:
    """The whole names of all layers, those that hold others included; `prefix` stands before each."""
    for layer in layers:
        name = prefix + layer.name
        yield name
        match layer:
            case Group():
                yield from names(layer.layers, f"{name}.")
            case Residual():
                yield from names((*layer.branch, *layer.after), f"{name}.")
                yield from names(layer.shortcut, f"{name}.shortcut.")


def followed(layers: Sequence[Layer], after: Mapping[str, Layer], prefix: str = "") -> tuple[Layer, ...]:
    """`layers` with another put behind each whose whole name, which starts with `prefix`, is a key of `after`."""
    built: list[Layer] = []
    for layer in layers:
        name = prefix + layer.name
        match layer:
            case Group():
                built.append(replace(layer, layers=followed(layer.layers, after, f"{name}.")))
            case Residual():
                inside = replace(
                    layer,
                    branch=followed(layer.branch, after, f"{name}."),
                    shortcut=followed(layer.shortcut, after, f"{name}.shortcut."),
                    after=followed(layer.after, after, f"{name}."),
                )
                built.append(inside)
            case _:
                built.append(layer)
        if name in after:
            built.append(after[name])
    return tuple(built)


def show(shape: Shape) -> str:
    """`(3, 32, 32)` as `3×32×32`."""
    return "×".join(str(size) for size in shape)


def _image(shape: Shape) -> Shape:
    if len(shape) != 3:
        raise Misfit("it takes an image: channels, height and width.")
    return shape


@dataclass(frozen=True)
class _Units:
    """What flows from layer to layer: whether it is kept until the backward pass already, and has a gradient at all."""

    shape: Shape
    kept: bool = False
    is_learned: bool = False


class _Walk:
    """Goes through layers and writes their rows, the first of which has the index `first`."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.rows: list[LayerRow] = []

    @property
    def index(self) -> int:
        """Of the next row."""
        return self.first + len(self.rows)

    def through(self, layers: Sequence[Layer], units: _Units, prefix: str) -> _Units:
        """What comes out of `layers` that are given `units`."""
        for layer in layers:
            name = prefix + layer.name
            match layer:
                case Group():
                    units = self.through(layer.layers, units, f"{name}.")
                case Residual():
                    units = self._residual(layer, units, name)
                case _:
                    units = self._layer(layer, units, name)
        return units

    def _residual(self, layer: Residual, units: _Units, name: str) -> _Units:
        index = self.index
        branch = self.through(layer.branch, units, f"{name}.")
        kept = units.kept or _is_kept_by(layer.branch[0], units)
        shortcut = self.through(layer.shortcut, replace(units, kept=kept), f"{name}.shortcut.")
        if branch.shape != shortcut.shape:
            reason = f"its branch gives {show(branch.shape)}, to which {show(shortcut.shape)} cannot be added."
            raise ShapeMismatch(index, name, layer, units.shape, reason)
        total = _Units(branch.shape, is_learned=branch.is_learned or shortcut.is_learned)
        return self.through(layer.after, total, f"{name}.")

    def _layer(self, layer: Layer, units: _Units, name: str) -> _Units:
        try:
            output = layer.output_shape(units.shape)
        except Misfit as misfit:
            raise ShapeMismatch(self.index, name, layer, units.shape, str(misfit)) from None
        is_learned = units.is_learned or layer.weights + layer.biases > 0
        activations = layer.keeps_besides(units.shape) if is_learned else 0
        if _is_kept_by(layer, units) and not units.kept:
            activations += prod(units.shape)
        keeps_output = layer.keeps_output and is_learned
        if keeps_output:
            activations += prod(output)
        row = LayerRow(
            index=self.index,
            name=name,
            kind=type(layer).__name__,
            input_shape=units.shape,
            output_shape=output,
            weights=layer.weights,
            biases=layer.biases,
            multiply_adds=layer.multiply_adds(units.shape),
            activations=activations,
        )
        self.rows.append(row)
        kept = keeps_output or (isinstance(layer, Flatten) and units.kept)
        return _Units(output, kept, is_learned)


def _is_kept_by(layer: Layer, units: _Units) -> bool:
    """Whether `layer` keeps what it is given: without weights it does so only for the gradients of layers before it."""
    return layer.keeps_input and (units.is_learned or layer.weights > 0)
