"""The training spec: what a user may ask for, every field with its meaning, unit and bound.

Plain data, no code and no torch. Unknown keys are refused, numbers are never clamped, and what is left out
takes the default that is written here. `trainer.parsing` reads a spec from JSON and tells what is wrong
with it; what one field demands of another, and of the data set, is checked in `trainer.validation`.
"""

import json
from fnmatch import fnmatchcase
from hashlib import sha256
from math import ceil
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LARGEST_EXACT_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader, a browser's included, keeps exact."""

USUAL_INSPECTIONS = 20

Width = Annotated[int, Field(ge=1, le=65_536)]
Channels = Annotated[int, Field(ge=1, le=8_192)]
LayerName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z][a-z0-9_]*$")]
LayerPath = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$")]
ActivationFunction = Literal["relu", "tanh", "sigmoid"]


class Part(BaseModel):
    """A part of the spec: immutable, strict about types, without unknown keys, NaN or infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class WhiteningPart(Part):
    """Turns and stretches centred and scaled images so that their covariance over the training split is the identity.

    With the covariance's eigenvectors as columns of `U` and its eigenvalues `L`, in falling order, an image, read as
    one vector, becomes `W (x - mean) / std`. Directions whose variance is not far above epsilon stay short of 1, and
    those without any variance stay at 0 over the training split (cs231n notes 2).
    """

    epsilon: float = Field(
        default=1.0e-5,
        gt=0,
        le=1_000,
        description="Added to each variance of the centred and scaled images before its root is taken. Small values "
        "whiten fully and amplify noise up to 1 / sqrt(epsilon) times; 0.1 is usual where images are few.",
    )


class ZcaWhitening(WhiteningPart):
    """`W = U diag(1 / sqrt(L + epsilon)) Uᵀ`: of all whitened images those closest to the images; still pictures."""

    kind: Literal["zca"]


class PcaWhitening(WhiteningPart):
    """`W = diag(1 / sqrt(L + epsilon)) Uᵀ`: components, the one of most variance first, in the shape of the image.

    Neighbours are no longer neighbours. Each eigenvector's entry of largest magnitude is positive.
    """

    kind: Literal["pca"]


Whitening = Annotated[ZcaWhitening | PcaWhitening, Field(discriminator="kind")]


class Preprocessing(Part):
    """Applied to every image, with statistics of the training split only (Krizhevsky 2012)."""

    centre: Literal["per_channel", "per_pixel", "none"] = Field(
        default="per_channel",
        description="What is subtracted: the mean of each channel, the mean image (AlexNet's), or nothing.",
    )
    scale: bool = Field(
        default=True,
        description="Divide each channel by its standard deviation over the training split.",
    )
    whitening: Whitening | None = Field(
        default=None,
        description="Done last, for small images; needs `centre: per_pixel`. Left out: none.",
    )


class RandomCrop(Part):
    """Pad with zeros on every side, then cut a window of the original size at a random place."""

    kind: Literal["random_crop"]
    padding: int = Field(ge=1, le=64, description="Width of the border of zeros, in pixels.")


class HorizontalFlip(Part):
    """Mirror left and right."""

    kind: Literal["horizontal_flip"]
    probability: float = Field(default=0.5, ge=0, le=1, description="Chance that an image is mirrored.")


class ColorJitter(Part):
    """Change each image's brightness, contrast, saturation and hue, in this order, then cut what leaves 0..255.

    With `u` drawn evenly from [-1, 1) for each image and strength, and `x` an image's values:
    brightness: `x = f * x`; contrast: `x = f * x + (1 - f) * m`, with `m` the mean of all values of the image;
    saturation: `x = f * x + (1 - f) * g`, with `g = 0.299 R + 0.587 G + 0.114 B` of each pixel (ITU-R BT.601); each
    with its own `f = 1 + strength * u`. Hue: each colour is rotated about the grey axis R = G = B by `strength * u`
    turns, of which one third takes red to green. Nothing is rounded.
    """

    kind: Literal["color_jitter"]
    brightness: float = Field(default=0.0, ge=0, le=1, description="Largest change of the factor from 1; 0: none.")
    contrast: float = Field(default=0.0, ge=0, le=1, description="Largest change of the factor from 1; 0: none.")
    saturation: float = Field(
        default=0.0, ge=0, le=1, description="Largest change of the factor from 1, for RGB images; 0: none."
    )
    hue: float = Field(default=0.0, ge=0, le=0.5, description="Largest rotation, in turns, for RGB images; 0: none.")


class PcaLighting(Part):
    """Add `[p1, p2, p3] [a1 l1, a2 l2, a3 l3]ᵀ` to every pixel of an RGB image (Krizhevsky 2012).

    `p` and `l` are the eigenvectors and eigenvalues of the covariance of the training split's pixels, with values
    from 0 to 1; the sum, times 255, is added to values from 0 to 255, which it may leave. Each image draws its own
    three `a` from a normal distribution with mean 0.
    """

    kind: Literal["pca_lighting"]
    std: float = Field(default=0.1, gt=0, le=10, description="Standard deviation of each `a`.")


class Cutout(Part):
    """Blank a square around a pixel drawn evenly from the image, cut at the border (DeVries and Taylor 2017).

    Around pixel `c` it takes rows, and columns, from `c - size // 2` to `c - size // 2 + size - 1`.
    """

    kind: Literal["cutout"]
    size: int = Field(ge=1, le=4_096, description="Side of the square, in pixels.")
    fill: Literal["mean", "black"] = Field(
        default="mean",
        description="`mean`: each channel's mean over the training split, rounded to a whole number, as in the paper; "
        "`black`: 0.",
    )


class Mixup(Part):
    """Train on `s * x + (1 - s) * x'` with the same mixture of the two images' targets (Zhang 2018).

    The partners `x'` are the batch in another order. One `s` is drawn for each batch, as in the paper's code: the
    larger of `b` and `1 - b` for a `b` from Beta(alpha, alpha), which leaves the pairs as they are and makes `x` the
    one that dominates. Comes last, so that each of a pair has been changed on its own. Training accuracy is
    against the labels of `x`.
    """

    kind: Literal["mixup"]
    alpha: float = Field(
        default=0.2, ge=0.01, le=100, description="Both parameters of the Beta distribution: small mixes little."
    )


ImageChange = RandomCrop | HorizontalFlip | ColorJitter | PcaLighting | Cutout
Augmentation = Annotated[ImageChange | Mixup, Field(discriminator="kind")]


class ConstantInitialization(Part):
    """Every weight equal. Kept because seeing it fail is the lesson: units of a layer stay identical."""

    kind: Literal["constant"]
    value: float = Field(default=0.01, ge=-10, le=10, description="The weight.")


class SmallRandomInitialization(Part):
    """Normal with mean 0 and a fixed standard deviation, whatever the layer's size."""

    kind: Literal["small_random"]
    std: float = Field(default=0.01, gt=0, le=10, description="Standard deviation of the weights.")


class XavierInitialization(Part):
    """Variance 1 / fan_in, or 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""

    kind: Literal["xavier"]
    distribution: Literal["normal", "uniform"] = Field(default="normal", description="Shape of the draw.")
    fan: Literal["in", "average"] = Field(
        default="average", description="`in`: variance 1 / fan_in; `average`: 2 / (fan_in + fan_out)."
    )


class HeInitialization(Part):
    """Variance 2 / fan_in, for layers before a ReLU (He 2015)."""

    kind: Literal["he"]
    distribution: Literal["normal", "uniform"] = Field(default="normal", description="Shape of the draw.")


class OrthogonalInitialization(Part):
    """`W Wᵀ`, or `Wᵀ W` where a layer has more units than inputs, is the identity times gain² (Saxe 2013).

    Weights of a convolution are taken as one row a channel, of all that its kernel sees.
    """

    kind: Literal["orthogonal"]
    gain: float = Field(
        default=1.0, gt=0, le=100, description="Factor of the weights; 1.414 makes up for what relu sets to zero."
    )


class RandomWalkInitialization(Part):
    """Normal with std gain / sqrt(fan_in): the log of the back-propagated norm is an unbiased random walk over layers.

    With N = fan_in the gain is sqrt(2) * exp(1.2 / (max(N, 6) - 2.4)) in networks of ReLUs and exp(1 / (2 N)) in those
    without any nonlinearity (Sussillo and Abbott 2014).
    """

    kind: Literal["random_walk"]
    gain: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="The gain of every layer. Left out: that of the formulae; no other nonlinearity has one, and for "
        "tanh the paper finds 1.1 to 1.3 good.",
    )


class FromImages(Part):
    """What initializations that look at images take: the first of the training split, preprocessed, unaugmented."""

    images: int = Field(
        default=128, ge=2, le=4_096, description="How many images are looked at; one alone would have no variance."
    )


class LsuvInitialization(FromImages):
    """Orthogonal, then layer by layer scaled until the variance of its outputs is 1 (Mishkin and Matas 2015)."""

    kind: Literal["lsuv"]
    tolerance: float = Field(
        default=0.01, ge=1e-4, lt=1, description="How far from 1 the variance of a layer's outputs may end."
    )
    max_iterations: int = Field(default=10, ge=1, le=100, description="After how many scalings a layer is left.")


class DataDependentInitialization(FromImages):
    """Normal, then each channel's outputs brought to mean 0 and standard deviation 1, then layers to equal paces.

    The pace of a layer is the root mean square of its weights' gradients over that of its weights. Whole layers are
    scaled until paces are equal, which leaves means at 0 (Krähenbühl 2015, algorithms 1 and 2).
    """

    kind: Literal["data_dependent"]
    between_layers: bool = Field(
        default=True, description="Even out the layers' paces; false leaves every channel at standard deviation 1."
    )


class FixupInitialization(Part):
    """Residual networks without normalisation (Zhang 2019).

    He, but in each of L branches of m weighted layers all but the last times L ** (-1 / (2 m - 2)) and the last zero,
    as is the output layer. The network gets a scalar multiplier, 1 at first, at the end of every branch, and a scalar
    bias, 0 at first, before every convolution, linear layer and nonlinearity.
    """

    kind: Literal["fixup"]


Initialization = Annotated[
    ConstantInitialization
    | SmallRandomInitialization
    | XavierInitialization
    | HeInitialization
    | OrthogonalInitialization
    | RandomWalkInitialization
    | LsuvInitialization
    | DataDependentInitialization
    | FixupInitialization,
    Field(discriminator="kind"),
]


class BatchNormPart(Part):
    """Normalise each channel by its batch statistics; running averages at test (Ioffe and Szegedy 2015)."""

    epsilon: float = Field(default=1.0e-5, gt=0, le=1, description="Added to the variance.")
    momentum: float = Field(default=0.1, gt=0, le=1, description="Weight of the newest batch in the running averages.")


class BatchNorm(BatchNormPart):
    """Batch norm in a network (Ioffe and Szegedy 2015)."""

    after: tuple[LayerPath, ...] | None = Field(
        default=None,
        max_length=256,
        description="Names of the layers, as the layer table has them, behind which it stands; left out: behind "
        "every hidden convolution and fully connected layer, before its nonlinearity.",
    )


class DropoutPart(Part):
    """Set units to zero at random in training (Srivastava 2014)."""

    drop: float = Field(
        ge=0,
        lt=1,
        description="Probability of setting a unit to zero. (The literature uses p both for this and for its "
        "opposite, the probability of keeping a unit.)",
    )
    form: Literal["inverted", "classic"] = Field(
        default="inverted",
        description="`inverted`: divide by 1 - drop while training; `classic`: multiply by 1 - drop at test.",
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


class NoMomentum(Part):
    """`x -= a * dx`."""

    form: Literal["none"]


class AveragedMomentum(Part):
    """`v = (1 - b) * v + b * dx; x -= a * v`: a running average of gradients."""

    form: Literal["averaged"]
    b: float = Field(default=0.1, gt=0, le=1, description="Weight of the newest gradient; 1 is plain SGD.")
    start: Literal["zero", "gradient"] = Field(
        default="zero",
        description="`v` before the first step: `zero` as the formula reads; `gradient` starts it at the first "
        "gradient, unscaled, as torch.optim.SGD does.",
    )


class ClassicalMomentum(Part):
    """`v = m * v + dx; x -= a * v` (Polyak 1964)."""

    form: Literal["classical"]
    m: float = Field(default=0.9, ge=0, lt=1, description="Share of the velocity that is kept.")


class NesterovMomentum(Part):
    """`v = m * v + dx; x -= a * (dx + m * v)` (Nesterov 1983; Sutskever 2013)."""

    form: Literal["nesterov"]
    m: float = Field(default=0.9, gt=0, lt=1, description="Share of the velocity that is kept.")


Momentum = Annotated[NoMomentum | AveragedMomentum | ClassicalMomentum | NesterovMomentum, Field(discriminator="form")]


class LayerRate(Part):
    """A learning rate of their own for some layers."""

    layers: str = Field(
        min_length=1,
        max_length=200,
        description="Name of a layer as in the layer table, or a pattern: `*` is any text, `?` any character, "
        "`[12]` one of these.",
    )
    factor: float = Field(
        ge=0,
        le=100,
        description="What the schedule's rate is multiplied by; 0 freezes: weights and biases keep their start.",
    )

    def names(self, layer: str) -> bool:
        """Whether this entry is for the layer of that name."""
        return fnmatchcase(layer, self.layers)


class OptimizerPart(Part):
    """What every optimizer takes."""

    layer_rates: tuple[LayerRate, ...] = Field(
        default=(),
        max_length=64,
        description="Layers that learn at another rate than the schedule's. The first entry that names a layer counts.",
    )

    def layer_factor(self, layer: str) -> float:
        """What the schedule's rate is multiplied by for the layer of that name."""
        return next((entry.factor for entry in self.layer_rates if entry.names(layer)), 1.0)


class Sgd(OptimizerPart):
    """Mini-batch stochastic gradient descent."""

    kind: Literal["sgd"]
    momentum: Momentum = Field(
        default=ClassicalMomentum(form="classical"), description="How gradients are accumulated."
    )


class AdaGrad(OptimizerPart):
    """`s += dx**2; x -= a * dx / (sqrt(s) + epsilon)`: torch.optim.Adagrad (Duchi 2011).

    Its own decay of the rate is left to the schedule: see `inverse_time`.
    """

    kind: Literal["adagrad"]
    start: float = Field(default=0.0, ge=0, le=1_000, description="`s` before the first step.")
    epsilon: float = Field(default=1.0e-10, gt=0, le=1, description="Keeps the division finite.")


class RmsProp(OptimizerPart):
    """`s = alpha * s + (1 - alpha) * dx**2; x -= a * dx / (sqrt(s) + epsilon)`: torch.optim.RMSprop (Hinton 2012)."""

    kind: Literal["rmsprop"]
    alpha: float = Field(default=0.99, ge=0, lt=1, description="Share of the average of squares that is kept.")
    epsilon: float = Field(default=1.0e-8, gt=0, le=1, description="Keeps the division finite.")
    momentum: float = Field(
        default=0.0, ge=0, lt=1, description="`v = momentum * v + dx / (sqrt(s) + epsilon); x -= a * v`; 0 for none."
    )
    centered: bool = Field(
        default=False,
        description="Divide by the estimated deviation: an average of gradients, squared, is taken off s.",
    )


class AdamPart(OptimizerPart):
    """What Adam and AdamW take."""

    beta1: float = Field(default=0.9, ge=0, lt=1, description="Share of the average of gradients that is kept.")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="Share of the average of squares that is kept.")
    epsilon: float = Field(default=1.0e-8, gt=0, le=1, description="Keeps the division finite.")
    amsgrad: bool = Field(
        default=False, description="Divide by the largest average of squares so far (Reddi, Kale and Kumar 2018)."
    )


class Adam(AdamPart):
    """torch.optim.Adam: `m = beta1 * m + (1 - beta1) * dx; s = beta2 * s + (1 - beta2) * dx**2` and, at step n,
    `x -= a * (m / (1 - beta1**n)) / (sqrt(s / (1 - beta2**n)) + epsilon)` (Kingma and Ba 2014).
    """

    kind: Literal["adam"]


class AdamW(AdamPart):
    """torch.optim.AdamW: Adam, and `x -= a * weight_decay * x` beside it (Loshchilov and Hutter 2019)."""

    kind: Literal["adamw"]
    weight_decay: float = Field(
        default=0.01,
        ge=0,
        le=10,
        description="Decoupled weight decay; biases and batch-norm parameters as in `regularization`.",
    )


Optimizer = Annotated[Sgd | AdaGrad | RmsProp | Adam | AdamW, Field(discriminator="kind")]


class GradientClipping(Part):
    """Scale the loss's gradient down where its norm, over all weights and biases at once, is larger (Pascanu 2013).

    Before weight decay and L1 are added.
    """

    norm: float = Field(gt=0, le=1_000_000, description="Largest norm of the gradient.")


class CrossEntropy(Part):
    """`-sum_k y_k log p_k` in nats, averaged over the batch, for targets `y` and predicted distributions `p`.

    Validation is always scored against the labels themselves.
    """

    kind: Literal["cross_entropy"]
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="`e` in `y = (1 - e) * target + e / K`, with K classes (Szegedy 2016). The training loss that is "
        "reported is the smoothed one.",
    )


Loss = Annotated[CrossEntropy, Field(discriminator="kind")]


class Regularization(Part):
    """What keeps weights and gradients small."""

    weight_decay: float = Field(
        default=0.0, ge=0, le=1, description="L2 penalty: `weight_decay * x` is added to the gradient of x."
    )
    decoupled_weight_decay: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="`x -= a * decoupled_weight_decay * x` in each step, beside the update; a is the layer's own rate "
        "(Loshchilov and Hutter 2019). `adamw` has its own.",
    )
    l1: float = Field(default=0.0, ge=0, le=1, description="L1 penalty: `l1 * sign(x)` is added to the gradient of x.")
    decay_biases_and_norms: bool = Field(
        default=False,
        description="Apply weight decay, of any form, and L1 to biases and batch-norm parameters too; by default "
        "they are left out.",
    )
    max_norm: float | None = Field(
        default=None,
        gt=0,
        le=1_000,
        description="Largest norm of the weights into a unit or of a filter; longer ones are scaled down after each "
        "update, biases left out (Srivastava 2014). Left out: no limit.",
    )
    gradient_clipping: GradientClipping | None = Field(
        default=None, description="Limits the gradient's global norm; left out: none."
    )


class Warmup(Part):
    """The rate rises to the schedule's first one: `a = a0 * (start + (1 - start) * t / epochs)` for `t < epochs`."""

    kind: Literal["linear"] = Field(default="linear", description="How the rate rises.")
    epochs: float = Field(gt=0, le=10_000, description="Length, in epochs; they are part of the training's.")
    start: float = Field(default=0.0, ge=0, lt=1, description="Rate of the first step, as a share of `a0`.")


class SchedulePart(Part):
    """The clock `t` of every schedule counts epochs, in fractions, from 0 at its first step to `T` at its end.

    The first step is the training's, or the first after the warm-up; `T` is what is left of the training then.
    """

    learning_rate: float = Field(gt=0, le=1_000, description="Learning rate at the start, `a0`.")
    warmup: Warmup | None = Field(
        default=None, description="Comes before the schedule, whose clock starts after it; left out: none."
    )
    clock: Literal["step", "epoch"] = Field(
        default="step",
        description="`step`: the rate changes with every step; `epoch`: it stays through each epoch as it is at the "
        "epoch's start.",
    )


class ConstantSchedule(SchedulePart):
    """`a = a0`."""

    kind: Literal["constant"]


class StepSchedule(SchedulePart):
    """`a = a0 * factor ** floor(t / every)`."""

    kind: Literal["step"]
    factor: float = Field(default=0.1, gt=0, lt=1, description="What the rate is multiplied by.")
    every: int = Field(ge=1, le=10_000, description="Epochs between two decays.")


class MultiStepSchedule(SchedulePart):
    """`a = a0 * factor ** n`, where n of the listed epochs are over: those with `epoch <= t`."""

    kind: Literal["multistep"]
    factor: float = Field(default=0.1, gt=0, lt=1, description="What the rate is multiplied by.")
    after: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field(
        min_length=1, max_length=1_000, description="The numbers of epochs after which the rate falls, ascending."
    )


class ExponentialSchedule(SchedulePart):
    """`a = a0 * exp(-k * t)`."""

    kind: Literal["exponential"]
    k: float = Field(gt=0, le=100, description="Decay per epoch.")


class InverseTimeSchedule(SchedulePart):
    """`a = a0 / (1 + k * t)`."""

    kind: Literal["inverse_time"]
    k: float = Field(gt=0, le=1_000, description="Decay per epoch.")


class PolynomialSchedule(SchedulePart):
    """`a = minimum + (a0 - minimum) * (1 - t / T) ** power`."""

    kind: Literal["polynomial"]
    power: float = Field(default=2.0, gt=0, le=100, description="Above 1 the rate falls quickly first, below 1 last.")
    minimum: float = Field(default=0.0, ge=0, le=1_000, description="Learning rate at the end.")


class LinearSchedule(SchedulePart):
    """`a = minimum + (a0 - minimum) * (1 - t / T)`."""

    kind: Literal["linear"]
    minimum: float = Field(default=0.0, ge=0, le=1_000, description="Learning rate at the end.")


class CosineSchedule(SchedulePart):
    """One half-cosine over the whole training, from `a0` to `minimum`."""

    kind: Literal["cosine"]
    minimum: float = Field(default=0.0, ge=0, le=1_000, description="Learning rate at the end.")


class CosineRestarts(SchedulePart):
    """Half-cosines from `a0` to `minimum`, each followed by a restart at `a0` (SGDR, Loshchilov and Hutter 2016).

    `a = minimum + (a0 - minimum) / 2 * (cos(pi * u / U) + 1)`, u epochs into a cycle of U. A snapshot is taken at
    the end of each cycle, where the rate is lowest, and at the end of the training.
    """

    kind: Literal["cosine_restarts"]
    first: int = Field(ge=1, le=10_000, description="Epochs of the first cycle, T_0.")
    factor: int = Field(default=1, ge=1, le=100, description="Each cycle is so many times as long as the last, T_mult.")
    minimum: float = Field(default=0.0, ge=0, le=1_000, description="Learning rate at the end of a cycle.")


class SnapshotCycles(SchedulePart):
    """`a = a0 / 2 * (cos(pi * mod(t, T / M) / (T / M)) + 1)`: M equal cycles in T epochs (Huang 2017).

    A snapshot is taken at the end of each cycle, where the rate is lowest.
    """

    kind: Literal["snapshot_cycles"]
    cycles: int = Field(ge=1, le=1_000, description="Number of cycles M; must divide the number of epochs.")


class TriangularSchedule(SchedulePart):
    """`a = a0 + (maximum - a0) * (1 - abs(mod(t / half, 2) - 1))`: up for `half` epochs, then down (Smith 2017)."""

    kind: Literal["triangular"]
    maximum: float = Field(gt=0, le=1_000, description="Learning rate at the peaks.")
    half: float = Field(gt=0, le=10_000, description="Epochs from `a0` to the peak, half of a cycle.")


class OneCycleSchedule(SchedulePart):
    """One rise and one longer fall, both half-cosines, over the whole training (Smith 2018). Momentum stays as it is.

    `a = a0 + (maximum - a0) / 2 * (1 - cos(pi * t / R))` for `t < R = rise * T`, then
    `a = minimum + (maximum - minimum) / 2 * (cos(pi * (t - R) / (T - R)) + 1)`.
    """

    kind: Literal["one_cycle"]
    maximum: float = Field(gt=0, le=1_000, description="Learning rate at the peak.")
    rise: float = Field(default=0.3, gt=0, lt=1, description="Share of the training before the peak.")
    minimum: float = Field(default=0.0, ge=0, le=1_000, description="Learning rate at the end.")


class PlateauSchedule(SchedulePart):
    """`a = max(minimum, a0 * factor ** n)`: n grows after `patience` epochs in a row without improvement.

    An epoch improves when its validation loss is below `(1 - threshold)` times the best so far. Epochs of the
    warm-up are not counted. The rate depends on the training: a preview shows where it starts.
    """

    kind: Literal["plateau"]
    factor: float = Field(default=0.1, gt=0, lt=1, description="What the rate is multiplied by.")
    patience: int = Field(default=5, ge=1, le=10_000, description="Epochs without improvement before the rate falls.")
    threshold: float = Field(default=1.0e-4, ge=0, lt=1, description="Smallest improvement, as a share of the loss.")
    minimum: float = Field(default=0.0, ge=0, le=1_000, description="Lowest learning rate.")


Schedule = Annotated[
    ConstantSchedule
    | StepSchedule
    | MultiStepSchedule
    | ExponentialSchedule
    | InverseTimeSchedule
    | PolynomialSchedule
    | LinearSchedule
    | CosineSchedule
    | CosineRestarts
    | SnapshotCycles
    | TriangularSchedule
    | OneCycleSchedule
    | PlateauSchedule,
    Field(discriminator="kind"),
]


class NoEnsemble(Part):
    """One model: the weights at the end of training."""

    kind: Literal["none"]


class SnapshotEnsemble(Part):
    """Average the predicted probabilities of the last snapshots of a cyclic schedule (Huang 2017)."""

    kind: Literal["snapshots"]
    last: int = Field(ge=1, le=1_000, description="How many of the newest snapshots are averaged.")


class IndependentEnsemble(Part):
    """Average the predicted probabilities of models trained one after another from different seeds.

    Each member is trained for the spec's `epochs`, by a schedule that starts anew. The first has the spec's seed, the
    others seeds that are functions of it and of their number; each snapshot's provenance has its member's. A spec with
    such a seed and no ensemble gives the same weights. Epochs and steps are counted through: those of the second
    member follow the last of the first.
    """

    kind: Literal["independent"]
    members: int = Field(ge=2, le=100, description="Models that are trained; the work is so many times that of one.")


class StochasticWeightAveraging(Part):
    """Average the weights at the ends of epochs, in equal shares: one model, SWA (Izmailov 2018).

    The statistics of batch norm are then computed anew for the averaged weights: the mean over the batches of one more
    epoch, as training would have seen it, each batch counted by its images.
    """

    kind: Literal["swa"]
    start: int = Field(ge=1, le=10_000, description="The epoch, counted from 1, at whose end the average begins.")
    every: int = Field(default=1, ge=1, le=10_000, description="Epochs between two sets of weights in the average.")

    def averaged(self, epochs: int) -> range:
        """The epochs, counted from 1, of a training of `epochs` at whose ends weights go into the average."""
        return range(self.start, epochs + 1, self.every)


class ExponentialMovingAverage(Part):
    """Average the weights over all steps, the newest counted most: `s = decay * s + (1 - decay) * x` after each update.

    `s` starts as the initial weights (Polyak and Juditsky 1992, in exponential form). The statistics of batch norm are
    computed anew as for `swa`.
    """

    kind: Literal["ema"]
    decay: float = Field(default=0.999, gt=0, lt=1, description="Share of the average that each step keeps.")


WeightAveraging = StochasticWeightAveraging | ExponentialMovingAverage
Ensemble = Annotated[NoEnsemble | SnapshotEnsemble | IndependentEnsemble | WeightAveraging, Field(discriminator="kind")]


class LotteryTicket(Part):
    """Train, prune the smallest weights, rewind the rest to their start, train again (Frankle and Carbin 2019).

    The epochs are divided into rounds + 1 equal trainings. In each the schedule's clock and the optimizer start anew;
    at the end of each a snapshot is taken, if the schedule has none of its own. Pruned weights stay zero. Only weights
    of convolutions and linear layers are pruned; biases and batch norm are rewound with the rest.
    """

    kind: Literal["lottery_ticket"]
    rounds: int = Field(
        ge=1, le=100, description="How often the network is pruned; rounds + 1 must divide the number of epochs."
    )
    rate: float = Field(default=0.2, gt=0, lt=1, description="Share of the weights still left that a round prunes.")
    scope: Literal["layer", "global"] = Field(
        default="layer",
        description="`layer`: each layer loses its smallest weights, the output layer at half the rate; `global`: the "
        "smallest weights of all layers together.",
    )


Pruning = Annotated[LotteryTicket, Field(discriminator="kind")]


class Inspection(Part):
    """Statistics of each layer: outputs, gradients, dead units, update sizes. Always taken at initialisation.

    Of several independent members, each is inspected after the same epochs of its own, the first at initialisation too.
    """

    every: int | None = Field(
        default=None,
        ge=0,
        le=10_000,
        description="Epochs between two inspections, 0 for none; left out: as many as make at most twenty inspections.",
    )
    epochs: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field(
        default=(), max_length=1_000, description="Epochs to inspect after, beside those of `every`."
    )
    lint: Literal["warn", "refuse", "off"] = Field(
        default="warn",
        description="What follows when the layers start badly (vanishing, exploding, dead, saturated or equal "
        "units): a warning among the job's events, the end of the job, or nothing.",
    )

    def comes_after(self, epoch: int, epochs: int) -> bool:
        """Whether the layers are inspected after an epoch of a training of `epochs`."""
        every = ceil(epochs / USUAL_INSPECTIONS) if self.every is None else self.every
        return epoch in self.epochs or (every > 0 and epoch % every == 0)


class Execution(Part):
    """How steps are computed. What the worker's device or machine cannot do is refused when the training starts.

    Weights, their updates, batch-norm statistics, the loss, validation, inspections and snapshots are float32 always.
    """

    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="What convolutions and matrix products of training steps are computed in. `bfloat16` and `float16` "
        "halve what is kept of activations, and are refused where the hardware has no arithmetic in them: there they "
        "would be slower. With `float16` the loss is scaled, from 65,536 on, so that small gradients do not vanish; "
        "when gradients overflow, the step changes no weight, the scale halves and the schedule goes on; after 2,000 "
        "steps without that it doubles (Micikevicius 2018). Each step waits to learn whether gradients overflowed.",
    )
    memory_format: Literal["auto", "channels_last", "contiguous"] = Field(
        default="auto",
        description="How images and filters of convolutions lie in memory. The two layouts differ in speed and in the "
        "last bits of sums. `auto`: channels last, which is quicker nearly everywhere; with `deterministic: false` "
        "the quicker of the two by the clock, found on a copy of the network whenever a training starts or goes on.",
    )
    compile: bool = Field(
        default=False,
        description="Compile training steps for this network (torch.compile): seconds to minutes at the start, for "
        "steps that may be quicker, or slower. Needs a C++ compiler where the training runs, and Triton on GPUs. "
        "An epoch's smaller last batch, validation and inspections run uncompiled.",
    )
    deterministic: bool = Field(
        default=True,
        description="Use only algorithms that give the same bits each time. `false` lets cuDNN try its algorithms out "
        "and take the quickest, and `memory_format: auto` go by the clock; given up is that the same spec and seed "
        "give the same weights, and that a training that was interrupted ends as if it had not been.",
    )


LabelName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
LabelValue = Annotated[str, Field(max_length=255)]


class TrainingSpec(Part):
    """One training: a data set, a network, how it is trained and what is kept."""

    name: str = Field(min_length=1, max_length=200, description="Shown in lists; need not be unique.")
    labels: dict[LabelName, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Your own keys and values, to find jobs by."
    )
    dataset: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        description="Name of the data set. `mnist5k` comes with Annealer.",
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=LARGEST_EXACT_INTEGER,
        description="Every random draw is a function of this: same spec, same seed, same weights.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where to train; `auto`: a GPU where the worker has one, else the CPU."
    )
    preprocessing: Preprocessing = Field(
        default=Preprocessing(), description="What is done to every image, in training and after."
    )
    augmentation: tuple[Augmentation, ...] = Field(
        default=(), max_length=16, description="Random changes of training images only, applied in this order."
    )
    network: Network = Field(description="The architecture.")
    optimizer: Optimizer = Field(default=Sgd(kind="sgd"), description="How weights are updated.")
    schedule: Schedule = Field(description="The learning rate over the training.")
    loss: Loss = Field(default=CrossEntropy(kind="cross_entropy"), description="What is minimised, beside penalties.")
    regularization: Regularization = Field(default=Regularization(), description="What keeps weights small.")
    batch_size: int = Field(default=128, ge=1, le=65_536, description="Images in a step.")
    last_batch: Literal["keep", "drop"] = Field(
        default="keep",
        description="What happens to an epoch's last batch when it is smaller than the others.",
    )
    epochs: int = Field(ge=1, le=10_000, description="Passes over the training split, of each model that is trained.")
    ensemble: Ensemble = Field(
        default=NoEnsemble(kind="none"), description="What is scored at the end, beside the last model."
    )
    pruning: Pruning | None = Field(default=None, description="Training anew with fewer weights; left out: none.")
    inspection: Inspection = Field(default=Inspection(), description="When to look inside the network.")

    execution: Execution = Field(
        default=Execution(),
        description="How steps are computed: precision, layout, compiled or not, repeatable or not.",
    )

    @property
    def trainings(self) -> int:
        """How often weights set out from their start: once, and once more after each pruning."""
        return 1 + (self.pruning.rounds if self.pruning else 0)

    @property
    def epochs_each(self) -> int:
        """Epochs of one of the `trainings`."""
        return self.epochs // self.trainings

    @property
    def members(self) -> int:
        """How many models are trained, one after another."""
        return self.ensemble.members if isinstance(self.ensemble, IndependentEnsemble) else 1

    @property
    def total_epochs(self) -> int:
        """Epochs of all members."""
        return self.members * self.epochs

    @property
    def sha256(self) -> str:
        """Hash of all that determines the training: everything but the name and the labels."""
        document = self.model_dump(mode="json", exclude={"name", "labels"})
        return sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
