"""Multilayer perceptrons."""

from math import prod

from trainer import spec
from trainer.layers import Flatten, Layer, Linear, Shape
from trainer.networks.blocks import dropped, normalized


def layers(network: spec.Mlp, shape: Shape, classes: int) -> tuple[Layer, ...]:
    """Flatten; for each hidden size linear, batch norm, nonlinearity, dropout; then linear."""
    features = prod(shape)
    built: list[Layer] = [Flatten("flatten")]
    for number, units in enumerate(network.hidden, start=1):
        built.append(Linear(f"hidden{number}", features, units))
        built.extend(normalized(network, number, units))
        built.extend(dropped(network, f"dropout{number}"))
        features = units
    return (*built, Linear("output", features, classes))
