"""The scalars that Fixup puts into a network in place of normalisation (Zhang 2019)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from trainer.layers import (
    Activation,
    Convolution,
    Group,
    Layer,
    Linear,
    Residual,
    ScalarBias,
    ScalarMultiplier,
)


def with_scalars(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """`layers` with a bias before each convolution, linear layer and nonlinearity, a multiplier behind each branch."""
    return tuple(_with_scalars(layers))


def _with_scalars(layers: Sequence[Layer]) -> Iterator[Layer]:
    for layer in layers:
        match layer:
            case Group():
                yield replace(layer, layers=with_scalars(layer.layers))
            case Residual():
                yield replace(
                    layer,
                    branch=(*with_scalars(layer.branch), ScalarMultiplier("multiplier")),
                    shortcut=with_scalars(layer.shortcut),
                    after=with_scalars(layer.after),
                )
            case Convolution() | Linear() | Activation():
                yield ScalarBias(f"{layer.name}_bias")
                yield layer
            case _:
                yield layer
