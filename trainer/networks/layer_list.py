"""A user's own list of layers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from math import prod
from typing import assert_never

from trainer import spec
from trainer.layers import (
    Activation,
    BatchNormalization,
    Convolution,
    Drop,
    Flatten,
    GlobalAveragePool,
    Layer,
    Linear,
    LocalResponseNormalization,
    Pool,
    Residual,
    Shape,
    table,
)
from trainer.networks.blocks import dropped, normalization

OUTPUT = "output"
WORDS = {
    "convolution": "conv",
    "linear": "linear",
    "batch_norm": "norm",
    "local_response_norm": "response_norm",
    "activation": "activation",
    "max_pool": "pool",
    "average_pool": "pool",
    "global_average_pool": "pool",
    "dropout": "dropout",
    "flatten": "flatten",
    "residual": "residual",
}
"""What default names are made of."""


def layers(network: spec.LayerList, shape: Shape, classes: int) -> tuple[Layer, ...]:
    """The list, its inputs inferred, and the output if the list does not end in it."""
    *most, last = network.layers
    ends = isinstance(last, spec.ListedLinear) and last.units == classes
    chain = _Chain(network, shape)
    chain.extend(most if ends else network.layers)
    if not ends and len(chain.shape) > 1:
        chain.append(Flatten(f"{OUTPUT}_flatten"))
    name = (last.name if ends else None) or OUTPUT
    return (*chain.layers, *dropped(network, f"{OUTPUT}_dropout"), Linear(name, prod(chain.shape), classes))


def places(network: spec.LayerList) -> dict[str, tuple[str | int, ...]]:
    """Where each layer of the list stands in the network's spec, by its name; of those of one name the last."""
    found: dict[str, tuple[str | int, ...]] = {}
    if isinstance(network.layers[-1], spec.ListedLinear):
        found[OUTPUT] = ("layers", len(network.layers) - 1)
    for index, (name, entry) in enumerate(_named(network.layers)):
        found[name] = ("layers", index)
        if isinstance(entry, spec.ListedResidual):
            for inner, (part, _) in enumerate(_named(entry.branch)):
                found[f"{name}.{part}"] = ("layers", index, "branch", inner)
            for inner, (part, _) in enumerate(_named(entry.shortcut)):
                found[f"{name}.shortcut.{part}"] = ("layers", index, "shortcut", inner)
    return found


def _named(entries: Sequence[spec.AnyLayer]) -> Iterator[tuple[str, spec.AnyLayer]]:
    """Each with its own name or its default one."""
    counts: Counter[str] = Counter()
    for entry in entries:
        word = WORDS[entry.kind]
        counts[word] += 1
        yield entry.name or f"{word}{counts[word]}", entry


class _Chain:
    """Layers that grow from entries of a list. `shape` is what they give; `first` and `prefix` as in `table`."""

    def __init__(self, network: spec.LayerList, shape: Shape, first: int = 0, prefix: str = "") -> None:
        self.network = network
        self.shape = shape
        self.index = first
        self.prefix = prefix
        self.layers: list[Layer] = []

    def extend(self, entries: Sequence[spec.AnyLayer]) -> None:
        """Add the layer of each entry, and the network's batch norm where it belongs. Raises `ShapeMismatch`."""
        for (name, entry), following in zip_longest(_named(entries), entries[1:]):
            self.append(self._layer(name, entry))
            is_weighted = isinstance(entry, spec.ListedConvolution | spec.ListedLinear)
            if is_weighted and not isinstance(following, spec.ListedBatchNorm):
                for norm in normalization(self.network, f"{name}_norm", self.shape[0]):
                    self.append(norm)

    def append(self, layer: Layer) -> None:
        """Add a layer. Raises `ShapeMismatch` where it does not fit."""
        rows = table([layer], self.shape, first=self.index, prefix=self.prefix)
        self.layers.append(layer)
        self.index += len(rows)
        self.shape = rows[-1].output_shape

    def _layer(self, name: str, entry: spec.AnyLayer) -> Layer:
        inputs = self.shape[0]
        match entry:
            case spec.ListedConvolution(channels=channels, kernel_size=size, stride=stride, padding=padding):
                return Convolution(name, inputs, channels, size, padding=padding, stride=stride, bias=entry.bias)
            case spec.ListedLinear(units=units):
                return Linear(name, prod(self.shape), units)
            case spec.ListedBatchNorm(epsilon=epsilon, momentum=momentum):
                return BatchNormalization(name, inputs, epsilon, momentum)
            case spec.ListedLocalResponseNorm(size=size, alpha=alpha, beta=beta, k=k):
                return LocalResponseNormalization(name, size, alpha, beta, k)
            case spec.ListedActivation(function=function):
                return Activation(name, function or self.network.activation)
            case spec.ListedMaxPool(size=size, stride=stride, padding=padding):
                return Pool(name, "max", size, stride, padding)
            case spec.ListedAveragePool(size=size, stride=stride, padding=padding):
                return Pool(name, "average", size, stride, padding)
            case spec.ListedGlobalAveragePool():
                return GlobalAveragePool(name)
            case spec.ListedDropout(drop=drop, form=form):
                return Drop(name, drop, form)
            case spec.ListedFlatten():
                return Flatten(name)
            case spec.ListedResidual():
                return self._residual(name, entry)
            case _:
                assert_never(entry)

    def _residual(self, name: str, entry: spec.ListedResidual) -> Residual:
        branch = _Chain(self.network, self.shape, self.index, f"{self.prefix}{name}.")
        branch.extend(entry.branch)
        shortcut = _Chain(self.network, self.shape, branch.index, f"{self.prefix}{name}.shortcut.")
        shortcut.extend(entry.shortcut)
        return Residual(name, tuple(branch.layers), tuple(shortcut.layers))
