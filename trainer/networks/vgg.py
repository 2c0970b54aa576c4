"""VGG (Simonyan and Zisserman 2014): stages of 3×3 convolutions, each with half the pixels of the one before."""

from collections.abc import Iterator
from math import prod

from trainer import spec
from trainer.layers import Convolution, Flatten, Group, Layer, Linear, Pool, Shape, table
from trainer.networks.blocks import dropped, normalized

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDENING = (1, 2, 4, 8, 8)
UNITS = 4_096
SMALLEST_IMAGE = 32
"""Side, in pixels, that five halvings leave one of."""


def layers(network: spec.Vgg, shape: Shape, classes: int) -> tuple[Layer, ...]:
    """Five stages; then two hidden layers with dropout and the output (`imagenet`), or dropout and the output."""
    built = [*_stages(network, shape[0]), Flatten("flatten")]
    features = prod(table(built, shape)[-1].output_shape)
    if network.variant == "small":
        return (*built, *dropped(network, "dropout"), Linear("output", features, classes))
    return (
        *built,
        Linear("hidden1", features, UNITS),
        *normalized(network, 1, UNITS),
        *dropped(network, "dropout1"),
        Linear("hidden2", UNITS, UNITS),
        *normalized(network, 2, UNITS),
        *dropped(network, "dropout2"),
        Linear("output", UNITS, classes),
    )


def _stages(network: spec.Vgg, inputs: int) -> Iterator[Layer]:
    padding = 1 + network.padding
    for stage, count in enumerate(CONVOLUTIONS[network.depth], start=1):
        channels = network.width * WIDENING[stage - 1]
        inside: list[Layer] = []
        for number in range(1, count + 1):
            inside.append(Convolution(f"conv{number}", inputs, channels, 3, padding=padding))
            inside.extend(normalized(network, number, channels))
            inputs, padding = channels, 1
        yield Group(f"stage{stage}", (*inside, Pool("pool", "max", 2)))
