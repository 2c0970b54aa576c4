"""The whole spec of a training."""

from typing import Literal

from pydantic import Field

from trainer.spec.augmentation import Augmentation
from trainer.spec.ensemble import Ensemble, IndependentEnsemble, NoEnsemble
from trainer.spec.execution import Execution
from trainer.spec.inspection import Inspection
from trainer.spec.loss import CrossEntropy, Loss
from trainer.spec.network import Network
from trainer.spec.optimizer import Optimizer, Sgd
from trainer.spec.part import Part
from trainer.spec.preprocessing import Preprocessing
from trainer.spec.pruning import Pruning
from trainer.spec.queued import LabelName, LabelValue, sha256_of
from trainer.spec.regularization import Regularization
from trainer.spec.schedule import Schedule

LARGEST_EXACT_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader, a browser's included, keeps exact."""


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
    devices: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="How many devices train the model together, each on its part of every batch: GPUs, or processes on "
        "CPUs, of one worker. `batch_size` is that of all; with synchronised batch norm the result is that of one "
        "device but for rounding.",
    )
    priority: int = Field(
        default=0, ge=-100, le=100, description="Of queued jobs, those of the highest priority are taken first."
    )
    max_runtime: float | None = Field(
        default=None,
        ge=1,
        le=31_536_000,
        description="Seconds that all attempts together may run before the job fails; left out: any.",
    )
    max_attempts: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Attempts before a failure of the machinery is final; left out: as the server is set.",
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
        """Hash of all that determines the training: neither its name and labels, nor its turn and its limits."""
        return sha256_of(self)
