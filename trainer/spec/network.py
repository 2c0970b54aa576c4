"""The architectures."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.spec.initialization import HeInitialization, Initialization, XavierInitialization
from trainer.spec.layer import ActivationFunction, BatchNormPart, Channels, DropoutPart, LayerPath, Width
from trainer.spec.layer_list import AnyLayer
from trainer.spec.part import Part


class BatchNorm(BatchNormPart):
    """Batch norm in a network (Ioffe and Szegedy 2015)."""

    after: tuple[LayerPath, ...] | None = Field(
        default=None,
        max_length=256,
        description="Names of the layers, as the layer table has them, behind which it stands; left out: behind "
        "every hidden convolution and fully connected layer, before its nonlinearity.",
    )


class Dropout(DropoutPart):
    """Dropout in a network (Srivastava 2014)."""

    after: tuple[LayerPath, ...] | None = Field(
        default=None,
        max_length=256,
        description="Names of the layers, as the layer table has them, behind which it stands; left out: where the "
        "network's description says.",
    )


class NetworkPart(Part):
    """What every network family takes."""

    activation: ActivationFunction = Field(default="relu", description="Nonlinearity after every hidden layer.")
    batch_norm: BatchNorm | None = Field(
        default=None, description="Between each hidden layer and its nonlinearity; left out: none."
    )
    dropout: Dropout | None = Field(default=None, description="Where: see the network; left out: none.")
    initialization: Initialization = Field(
        default=HeInitialization(kind="he"), description="How weights start. Biases start at zero."
    )
    classes: int | None = Field(
        default=None,
        ge=2,
        le=100_000,
        description="Number of classes. Left out: the data set's; given: it must be the data set's.",
    )


class Mlp(NetworkPart):
    """Fully connected layers. Dropout follows each hidden layer's nonlinearity."""

    kind: Literal["mlp"]
    hidden: tuple[Width, ...] = Field(
        default=(128,),
        max_length=256,
        description="Units of each hidden layer; empty for a linear classifier.",
    )


class LeNet(NetworkPart):
    """LeNet-5 in its common form: 61,706 parameters on one channel and ten classes (LeCun 1998).

    Convolutions of 6 and 16 channels, 5×5, each followed by 2×2 pooling; layers of 120 and 84 units.
    Dropout follows the two hidden fully connected layers.
    """

    kind: Literal["lenet"]
    activation: ActivationFunction = Field(default="tanh", description="Nonlinearity after every hidden layer.")
    initialization: Initialization = Field(
        default=XavierInitialization(kind="xavier"), description="How weights start. Biases start at zero."
    )
    pool: Literal["average", "max"] = Field(default="average", description="How 2×2 windows are reduced.")
    padding: int = Field(
        default=2,
        ge=0,
        le=64,
        description="Zeros around the image, in pixels: 2 makes a 28×28 image the paper's 32×32; give 0 for "
        "images that are 32×32.",
    )


class ConvNet(NetworkPart):
    """Blocks of convolution, batch norm, nonlinearity and max pooling; then dropout and a linear layer."""

    kind: Literal["convnet"]
    channels: tuple[Channels, ...] = Field(
        default=(32, 64, 128), min_length=1, max_length=64, description="Output channels of each block."
    )
    kernel_size: int = Field(default=3, ge=1, le=63, description="Side of each convolution's kernel, in pixels.")
    padding: int = Field(default=1, ge=0, le=64, description="Zeros around each convolution's input, in pixels.")
    pool_size: int = Field(
        default=2, ge=1, le=64, description="Side and stride of each max pooling, in pixels; 1 for none."
    )


class AlexNet(NetworkPart):
    """Five convolutions, two hidden fully connected layers and the output (Krizhevsky 2012).

    `imagenet` has the shapes of 2012 on one tower, without groups: convolutions of 96 channels (11×11, stride 4), 256
    (5×5), 384, 384 and 256 (3×3), overlapping 3×3 pooling with stride 2 after the first, second and fifth, and two
    layers of 4,096 units: 62,378,344 parameters on 227×227 images of three channels and 1,000 classes.

    `small` is for images from 15×15 pixels on, such as 28×28 or 32×32: one of the two towers of 2012 (48, 128, 192,
    192 and 128 channels; two layers of 2,048 units), its first convolution 5×5 with stride 1 and padding 2.

    Dropout follows the two hidden fully connected layers.
    """

    kind: Literal["alexnet"]
    variant: Literal["imagenet", "small"] = Field(
        default="imagenet", description="Shapes for images of 227×227 pixels, or for small ones."
    )
    dropout: Dropout | None = Field(default=Dropout(drop=0.5), description="Where: see the network; null: none.")
    local_response_norm: bool = Field(
        default=False,
        description="Normalise across five neighbouring channels after the first two nonlinearities, as in 2012. It "
        "has no parameters, and later work found no use in it (Simonyan and Zisserman 2014).",
    )


class Vgg(NetworkPart):
    """Five stages of 3×3 convolutions, each ended by 2×2 max pooling (Simonyan and Zisserman 2014).

    `imagenet` ends in two layers of 4,096 units and the output: VGG-16 has 138,357,544 parameters on 224×224 images
    of three channels and 1,000 classes. `small` ends in the output layer alone. Images must be 32×32 or larger.
    Dropout follows the hidden fully connected layers; in `small` it precedes the output layer.
    """

    kind: Literal["vgg"]
    depth: Literal[11, 13, 16, 19] = Field(
        default=16, description="Layers with weights, counted with the imagenet variant's three fully connected ones."
    )
    variant: Literal["imagenet", "small"] = Field(
        default="imagenet", description="What follows the convolutions: three fully connected layers, or one."
    )
    width: int = Field(
        default=64,
        ge=1,
        le=1_024,
        description="Channels of the first stage; the others have two, four, eight and eight times as many.",
    )
    padding: int = Field(
        default=0, ge=0, le=64, description="Zeros around the image, in pixels: 2 makes a 28×28 image 32×32."
    )
    dropout: Dropout | None = Field(default=Dropout(drop=0.5), description="Where: see the network; null: none.")


class ResNet(NetworkPart):
    """Residual networks, projections where shapes change (He 2015, option B); dropout precedes the output layer.

    Depths 18 and 34 have basic blocks, 50, 101 and 152 bottlenecks (their stride in the 3×3 convolution), in four
    stages of 64, 128, 256 and 512 channels, four times as many out of bottlenecks. Depths 8, 14, 20, 32, 44, 56 and
    110 are the small-image family 6n + 2: three stages of n basic blocks with 16, 32 and 64 channels. Convolutions
    have no biases where batch norm follows each. On 1,000 classes and three channels ResNet-18 has 11,689,512 and
    ResNet-50 25,557,032 parameters.
    """

    kind: Literal["resnet"]
    depth: Literal[8, 14, 18, 20, 32, 34, 44, 50, 56, 101, 110, 152] = Field(
        description="Layers with weights, without those of shortcuts."
    )
    stem: Literal["imagenet", "small"] | None = Field(
        default=None,
        description="`imagenet`: a 7×7 convolution and 3×3 max pooling, both with stride 2; `small`: a 3×3 one. "
        "Left out: imagenet for 18, 34, 50, 101 and 152, small for the others, which have no imagenet stem.",
    )
    batch_norm: BatchNorm | None = Field(
        default=BatchNorm(), description="Behind every convolution, before the nonlinearity or the sum; null: none."
    )


class LayerList(NetworkPart):
    """Your own layers, in order; input channels and features follow from the layer before.

    A linear layer at the end with as many units as there are classes is the output, and named so unless it has another
    name. After any other end a linear layer `output` is added, behind `output_flatten` where the list ends in an image.
    The network's `batch_norm` stands behind each convolution and linear layer (but the output) that no batch norm of
    the list follows, named as that layer with `_norm`; its `dropout` precedes the output, named `output_dropout`.
    """

    kind: Literal["layers"]
    activation: ActivationFunction = Field(
        default="relu", description="Nonlinearity of those activation layers that name none."
    )
    layers: tuple[AnyLayer, ...] = Field(min_length=1, max_length=256, description="The layers.")


Network = Annotated[Mlp | LeNet | ConvNet | AlexNet | Vgg | ResNet | LayerList, Field(discriminator="kind")]
