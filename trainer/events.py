"""What a training reports while it runs, in the order in which it happens.

Steps and epochs are counted from 1 over the whole training: an event with `step=31` tells of the state after
the 31st update. Losses are mean cross-entropy in nats, accuracies are shares in [0, 1], times are seconds.
Training losses are those that were minimised, with mixed and smoothed targets where the spec asks for them; training
accuracy is against the labels, in a mixed batch those of the images that dominate.
Where several members are trained, the second's epochs and steps follow the last of the first.
Tensors in events are copies in host memory that training no longer touches.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

_MAGNITUDES = tuple(10 ** (half_decade / 2) for half_decade in range(-16, 7))
HISTOGRAM_EDGES = (*(-magnitude for magnitude in reversed(_MAGNITUDES)), *_MAGNITUDES)
"""What lies between two neighbours is a bin, and what lies beyond the ends: half decades on both sides of zero, from
1e-8 to 1e3, so that vanishing values can be told apart."""

Phase = Literal["loading_data", "training", "scoring", "predicting", "exporting", "saving"]
EnsembleKind = Literal["snapshots", "independent", "swa", "ema"]


@dataclass(frozen=True)
class PhaseStarted:
    """Training turned to something else."""

    phase: Phase


@dataclass(frozen=True)
class TrainingStarted:
    """The network stands on its device; `first_step` is 1, or the step after the checkpoint.

    Splits (`train`, `validation`) that are `streamed` do not lie on the device whole.
    """

    device: str
    parameters: int
    epochs: int
    steps_per_epoch: int
    first_step: int
    environment: Mapping[str, str]
    streamed: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepsFinished:
    """Consecutive steps of one epoch, from `first_step` on: the loss and the learning rate of each."""

    epoch: int
    first_step: int
    losses: tuple[float, ...]
    learning_rates: tuple[float, ...]
    images_per_second: float


@dataclass(frozen=True)
class Scores:
    """How well probabilities fit a split: accuracy, error = 1 - accuracy, mean negative log-likelihood."""

    accuracy: float
    error: float
    negative_log_likelihood: float


@dataclass(frozen=True)
class EpochFinished:
    """An epoch's row. `learning_rate` is the one of its last step; training figures are over augmented batches."""

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    images_per_second: float
    seconds: float


@dataclass(frozen=True)
class Distribution:
    """Values of one tensor: None where a figure is not finite. `histogram` counts them between `HISTOGRAM_EDGES`."""

    mean: float | None
    std: float | None
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class LayerStatistics:
    """A layer on one batch: its outputs, the gradients of the loss by them, its weights and the last update of them.

    `dead` is the share of units that put out zero for every image, `saturated` the share of outputs within 1% of a
    bound; None where the layer's nonlinearity has no such thing. The rest is None in layers without weights:
    `symmetric` tells whether all units have the same weights, norms are Euclidean, and `update_ratio` is the norm of
    the epoch's last update over the norm of the weights, None before the first.
    """

    index: int
    name: str
    kind: str
    activations: Distribution
    gradients: Distribution
    dead: float | None
    saturated: float | None
    symmetric: bool | None
    weight_norm: float | None
    gradient_norm: float | None
    update_ratio: float | None


@dataclass(frozen=True)
class LayersInspected:
    """What stands in each layer after `epoch`, 0 at initialisation, and in `inputs`: the images as preprocessed."""

    epoch: int
    step: int
    inputs: Distribution
    layers: tuple[LayerStatistics, ...]


@dataclass(frozen=True)
class LintFound:
    """A layer that starts badly: `code` is a stable word, `detail` a sentence with the number and a remedy."""

    layer: str
    code: str
    detail: str


@dataclass(frozen=True)
class SnapshotTaken:
    """A model worth keeping: weights by name, preprocessing included, and where they come from."""

    number: int
    epoch: int
    step: int
    scores: Scores
    weights: "Mapping[str, Tensor]"
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class LayerPruned:
    """How many of a layer's `weights` are left."""

    name: str
    weights: int
    left: int


@dataclass(frozen=True)
class NetworkPruned:
    """After `step` the smallest weights were pruned for the `round`-th time and the rest rewound to their start.

    `sparsity` is the share of all weights of convolutions and linear layers that is pruned by now.
    """

    round: int
    epoch: int
    step: int
    sparsity: float
    layers: tuple[LayerPruned, ...]


@dataclass(frozen=True)
class CheckpointReady:
    """All that is needed to go on from `step` to the bit: tensors by name and plain facts."""

    epoch: int
    step: int
    tensors: "Mapping[str, Tensor]"
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class EnsembleMember:
    """A snapshot in an ensemble with its share in the average and its scores when it stands alone."""

    snapshot: int
    weight: float
    scores: Scores


@dataclass(frozen=True)
class VoteScores:
    """How often most votes go to the right class. Votes are no probabilities: there is no likelihood."""

    accuracy: float
    error: float


@dataclass(frozen=True)
class EnsembleScored:
    """Averaged probabilities of `members` on the validation split, beside the last model alone.

    Other ways to combine the same predictions stand beside it to compare. Of averaged weights, the one member is the
    model that has them, and `averaged` counts what they are the average of: epochs of `swa`, steps of `ema`.
    """

    kind: EnsembleKind
    members: tuple[EnsembleMember, ...]
    scores: Scores
    single: Scores
    geometric_mean: Scores
    majority_vote: VoteScores
    averaged: int | None = None


@dataclass(frozen=True)
class EnsembleMeasured:
    """An ensemble on its split: the share of each member that it was chosen from, and what `trainer.report` says.

    Two ways to combine the same members stand beside it to compare.
    """

    shares: tuple[float, ...]
    report: Mapping[str, Any]
    geometric_mean: Scores
    majority_vote: VoteScores


@dataclass(frozen=True)
class TrainingStopped:
    """Training was asked to stop; the checkpoint of `step` came just before."""

    step: int


@dataclass(frozen=True)
class TrainingFinished:
    """Everything asked for is done."""

    step: int


@dataclass(frozen=True)
class Advanced:
    """Of work that is no training, so many pieces of so many are done."""

    done: int
    of: int


@dataclass(frozen=True)
class PackFileWritten:
    """A file of an imported data set, of so many bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class DatasetPacked:
    """An import is done: `manifest` is a document of `trainer.datasets.manifest.Manifest`. Its files came before."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class FileWritten:
    """A file that the work was asked for, of so many bytes."""

    name: str
    media_type: str
    size: int


@dataclass(frozen=True)
class TaskStopped:
    """Work that is no training was asked to stop: it will begin anew."""


@dataclass(frozen=True)
class TaskFinished:
    """Work that is no training is done."""


def ensemble_title(kind: str, members: int, averaged: int | None) -> str:
    """An ensemble in a few words."""
    if averaged is None:
        return f"ensemble of {members}"
    counted = "epochs" if kind == "swa" else "steps"
    return f"averaged weights ({kind.upper()} of {averaged:,} {counted})"


Event = (
    PhaseStarted
    | TrainingStarted
    | StepsFinished
    | EpochFinished
    | LayersInspected
    | LintFound
    | SnapshotTaken
    | NetworkPruned
    | CheckpointReady
    | EnsembleScored
    | TrainingStopped
    | TrainingFinished
    | Advanced
    | EnsembleMeasured
    | PackFileWritten
    | DatasetPacked
    | FileWritten
    | TaskStopped
    | TaskFinished
)
