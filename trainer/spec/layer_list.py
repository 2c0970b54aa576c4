"""The layers of a user's own list; `LayerList` in `trainer.spec.network` is the network of them."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.spec.layer import ActivationFunction, BatchNormPart, Channels, DropoutPart, LayerName, Width
from trainer.spec.part import Part


class ListedLayer(Part):
    """What every layer of a list takes."""

    name: LayerName | None = Field(
        default=None,
        description="Its name in the layer table and in snapshots; left out: its word and its number among the layers "
        "of that word in the list, such as conv1.",
    )


class ListedConvolution(ListedLayer):
    """Square kernels; named conv1, conv2, …"""

    kind: Literal["convolution"]
    channels: Channels = Field(description="Output channels.")
    kernel_size: int = Field(default=3, ge=1, le=63, description="Side of the kernel, in pixels.")
    stride: int = Field(default=1, ge=1, le=64, description="Step of the kernel, in pixels.")
    padding: int = Field(default=0, ge=0, le=64, description="Zeros around the input, in pixels.")
    bias: bool = Field(default=True, description="Learn an offset for each channel.")


class ListedLinear(ListedLayer):
    """Fully connected; named linear1, linear2, …"""

    kind: Literal["linear"]
    units: Width = Field(description="Outputs.")


class ListedBatchNorm(ListedLayer, BatchNormPart):
    """Batch norm (Ioffe and Szegedy 2015); named norm1, norm2, …"""

    kind: Literal["batch_norm"]


class ListedLocalResponseNorm(ListedLayer):
    """`x / (k + alpha * sum of squares over neighbouring channels) ** beta` (Krizhevsky 2012); response_norm1, …"""

    kind: Literal["local_response_norm"]
    size: int = Field(default=5, ge=1, le=255, description="Channels in the sum.")
    alpha: float = Field(default=1.0e-4, ge=0, le=1_000, description="Weight of the sum.")
    beta: float = Field(default=0.75, ge=0, le=10, description="The exponent.")
    k: float = Field(default=2.0, gt=0, le=1_000, description="Added to the sum.")


class ListedActivation(ListedLayer):
    """An elementwise nonlinearity; named activation1, activation2, …"""

    kind: Literal["activation"]
    function: ActivationFunction | None = Field(
        default=None, description="Which nonlinearity; left out: the network's `activation`."
    )


class PoolPart(ListedLayer):
    """Reduces windows to one value each; named pool1, pool2, …"""

    size: int = Field(default=2, ge=1, le=64, description="Side of the windows, in pixels.")
    stride: int | None = Field(
        default=None, ge=1, le=64, description="Step of the windows, in pixels; left out: their size."
    )
    padding: int = Field(
        default=0, ge=0, le=32, description="Border around the input, in pixels; at most half the window."
    )


class ListedMaxPool(PoolPart):
    """The maximum of windows; named pool1, pool2, …"""

    kind: Literal["max_pool"]


class ListedAveragePool(PoolPart):
    """The average of windows, a border counting as zeros; named pool1, pool2, …"""

    kind: Literal["average_pool"]


class ListedGlobalAveragePool(ListedLayer):
    """The average of each channel, which leaves one feature a channel; named pool1, pool2, …"""

    kind: Literal["global_average_pool"]


class ListedDropout(ListedLayer, DropoutPart):
    """Dropout (Srivastava 2014); named dropout1, dropout2, …"""

    kind: Literal["dropout"]


class ListedFlatten(ListedLayer):
    """An image as one list of features; named flatten1, flatten2, …"""

    kind: Literal["flatten"]


PlainLayer = Annotated[
    ListedConvolution
    | ListedLinear
    | ListedBatchNorm
    | ListedLocalResponseNorm
    | ListedActivation
    | ListedMaxPool
    | ListedAveragePool
    | ListedGlobalAveragePool
    | ListedDropout
    | ListedFlatten,
    Field(discriminator="kind"),
]


class ListedResidual(ListedLayer):
    """`branch(x) + shortcut(x)`, which must have one shape (He 2015); named residual1, residual2, …

    A nonlinearity after the sum is the next layer of the list.
    """

    kind: Literal["residual"]
    branch: tuple[PlainLayer, ...] = Field(
        min_length=1, max_length=64, description="Layers between the input and the sum."
    )
    shortcut: tuple[PlainLayer, ...] = Field(
        default=(), max_length=64, description="Layers of the other way; left out: the input itself."
    )


AnyLayer = Annotated[
    ListedConvolution
    | ListedLinear
    | ListedBatchNorm
    | ListedLocalResponseNorm
    | ListedActivation
    | ListedMaxPool
    | ListedAveragePool
    | ListedGlobalAveragePool
    | ListedDropout
    | ListedFlatten
    | ListedResidual,
    Field(discriminator="kind"),
]
