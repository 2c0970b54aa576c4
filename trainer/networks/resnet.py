"""Residual networks (He 2015), with projections where shapes change (option B)."""

from collections.abc import Iterator

from trainer import spec
from trainer.layers import Activation, Convolution, GlobalAveragePool, Group, Layer, Linear, Pool, Residual, Shape
from trainer.networks.blocks import dropped, is_normalized, normalization, normalized

BLOCKS: dict[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks of each stage; other depths are 6n + 2, with n in each of three."""
BOTTLENECKS = {50, 101, 152}
WIDENING = 4
"""How many times more channels come out of a bottleneck than are inside."""


def layers(network: spec.ResNet, shape: Shape, classes: int) -> tuple[Layer, ...]:
    """The stem; stages of blocks, each with half the sides of the one before; average, dropout, output."""
    width = 64 if network.depth in BLOCKS else 16
    counts = BLOCKS.get(network.depth, ((network.depth - 2) // 6,) * 3)
    built = [*_stem(network, shape[0], width)]
    inputs = width
    for stage, count in enumerate(counts, start=1):
        blocks: list[Layer] = []
        for number in range(1, count + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            blocks.append(_block(network, f"block{number}", inputs, width, stride))
            inputs = width * WIDENING if network.depth in BOTTLENECKS else width
        built.append(Group(f"stage{stage}", tuple(blocks)))
        width *= 2
    return (*built, GlobalAveragePool("pool"), *dropped(network, "dropout"), Linear("output", inputs, classes))


def stem(network: spec.ResNet) -> str:
    """The stem asked for, or the depth's own."""
    return network.stem or ("imagenet" if network.depth in BLOCKS else "small")


def _stem(network: spec.ResNet, inputs: int, width: int) -> Iterator[Layer]:
    if stem(network) == "small":
        yield _convolution(network, "conv1", inputs, width, 3)
        yield from normalized(network, 1, width)
    else:
        yield _convolution(network, "conv1", inputs, width, 7, stride=2)
        yield from normalized(network, 1, width)
        yield Pool("pool1", "max", 3, stride=2, padding=1)


def _block(network: spec.ResNet, name: str, inputs: int, width: int, stride: int) -> Residual:
    outputs, branch = width, _basic
    if network.depth in BOTTLENECKS:
        outputs, branch = width * WIDENING, _bottleneck
    shortcut: tuple[Layer, ...] = ()
    if stride > 1 or inputs != outputs:
        projection = _convolution(network, "conv", inputs, outputs, 1, stride=stride)
        shortcut = (projection, *normalization(network, "norm", outputs))
    built = tuple(branch(network, inputs, width, stride))
    return Residual(name, built, shortcut, (Activation("activation", network.activation),))


def _basic(network: spec.ResNet, inputs: int, width: int, stride: int) -> Iterator[Layer]:
    yield _convolution(network, "conv1", inputs, width, 3, stride=stride)
    yield from normalized(network, 1, width)
    yield _convolution(network, "conv2", width, width, 3)
    yield from normalization(network, "norm2", width)


def _bottleneck(network: spec.ResNet, inputs: int, width: int, stride: int) -> Iterator[Layer]:
    yield _convolution(network, "conv1", inputs, width, 1)
    yield from normalized(network, 1, width)
    yield _convolution(network, "conv2", width, width, 3, stride=stride)
    yield from normalized(network, 2, width)
    yield _convolution(network, "conv3", width, width * WIDENING, 1)
    yield from normalization(network, "norm3", width * WIDENING)


def _convolution(
    network: spec.ResNet, name: str, inputs: int, outputs: int, kernel_size: int, *, stride: int = 1
) -> Convolution:
    """Padded to keep the size at stride 1; without biases where batch norm or Fixup has others."""
    bias = not (is_normalized(network) or isinstance(network.initialization, spec.FixupInitialization))
    return Convolution(name, inputs, outputs, kernel_size, padding=kernel_size // 2, stride=stride, bias=bias)
