"""The training spec: what a user may ask for, every field with its meaning, unit and bound.

Plain data, no code and no torch. Unknown keys are refused, numbers are never clamped, and what is left out
takes the default that is written here. `trainer.parsing` reads a spec from JSON and tells what is wrong
with it; what one field demands of another, and of the data set, is checked in `trainer.validation`.
"""

import json
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LARGEST_EXACT_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader, a browser's included, keeps exact."""

Width = Annotated[int, Field(ge=1, le=65_536)]
Channels = Annotated[int, Field(ge=1, le=8_192)]


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


Initialization = Annotated[
    ConstantInitialization | SmallRandomInitialization | XavierInitialization | HeInitialization,
    Field(discriminator="kind"),
]


class BatchNorm(Part):
    """Normalise each channel by its batch statistics; running averages at test (Ioffe and Szegedy 2015)."""

    epsilon: float = Field(default=1.0e-5, gt=0, le=1, description="Added to the variance.")
    momentum: float = Field(default=0.1, gt=0, le=1, description="Weight of the newest batch in the running averages.")


class Dropout(Part):
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


class NetworkPart(Part):
    """What every network family takes."""

    activation: Literal["relu", "tanh", "sigmoid"] = Field(
        default="relu", description="Nonlinearity after every hidden layer."
    )
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
    activation: Literal["relu", "tanh", "sigmoid"] = Field(
        default="tanh", description="Nonlinearity after every hidden layer."
    )
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


Network = Annotated[Mlp | LeNet | ConvNet, Field(discriminator="kind")]


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


class Sgd(Part):
    """Mini-batch stochastic gradient descent."""

    kind: Literal["sgd"]
    momentum: Momentum = Field(
        default=ClassicalMomentum(form="classical"), description="How gradients are accumulated."
    )


Optimizer = Annotated[Sgd, Field(discriminator="kind")]


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
    """Penalties on large weights."""

    weight_decay: float = Field(
        default=0.0, ge=0, le=1, description="L2 penalty: `weight_decay * x` is added to the gradient of x."
    )
    decay_biases_and_norms: bool = Field(
        default=False,
        description="Apply weight decay to biases and batch-norm parameters too; by default they are left out.",
    )


class SchedulePart(Part):
    """The clock `t` of every schedule counts epochs, in fractions, from 0 at the first step."""

    learning_rate: float = Field(gt=0, le=1_000, description="Learning rate at the start, `a0`.")


class ConstantSchedule(SchedulePart):
    """`a = a0`."""

    kind: Literal["constant"]


class StepSchedule(SchedulePart):
    """`a = a0 * factor ** floor(t / every)`."""

    kind: Literal["step"]
    factor: float = Field(default=0.1, gt=0, lt=1, description="What the rate is multiplied by.")
    every: int = Field(ge=1, le=10_000, description="Epochs between two decays.")


class ExponentialSchedule(SchedulePart):
    """`a = a0 * exp(-k * t)`."""

    kind: Literal["exponential"]
    k: float = Field(gt=0, le=100, description="Decay per epoch.")


class InverseTimeSchedule(SchedulePart):
    """`a = a0 / (1 + k * t)`."""

    kind: Literal["inverse_time"]
    k: float = Field(gt=0, le=1_000, description="Decay per epoch.")


class CosineSchedule(SchedulePart):
    """One half-cosine over the whole training, from `a0` to `minimum`."""

    kind: Literal["cosine"]
    minimum: float = Field(default=0.0, ge=0, le=1_000, description="Learning rate at the end.")


class SnapshotCycles(SchedulePart):
    """`a = a0 / 2 * (cos(pi * mod(t, T / M) / (T / M)) + 1)`: M equal cycles in T epochs (Huang 2017).

    A snapshot is taken at the end of each cycle, where the rate is lowest.
    """

    kind: Literal["snapshot_cycles"]
    cycles: int = Field(ge=1, le=1_000, description="Number of cycles M; must divide the number of epochs.")


Schedule = Annotated[
    ConstantSchedule | StepSchedule | ExponentialSchedule | InverseTimeSchedule | CosineSchedule | SnapshotCycles,
    Field(discriminator="kind"),
]


class NoEnsemble(Part):
    """One model: the weights at the end of training."""

    kind: Literal["none"]


class SnapshotEnsemble(Part):
    """Average the predicted probabilities of the last snapshots of a cyclic schedule (Huang 2017)."""

    kind: Literal["snapshots"]
    last: int = Field(ge=1, le=1_000, description="How many of the newest snapshots are averaged.")


Ensemble = Annotated[NoEnsemble | SnapshotEnsemble, Field(discriminator="kind")]


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
    epochs: int = Field(ge=1, le=10_000, description="Passes over the training split.")
    ensemble: Ensemble = Field(
        default=NoEnsemble(kind="none"), description="What is scored at the end, beside the last model."
    )

    @property
    def sha256(self) -> str:
        """Hash of all that determines the training: everything but the name and the labels."""
        document = self.model_dump(mode="json", exclude={"name", "labels"})
        return sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
