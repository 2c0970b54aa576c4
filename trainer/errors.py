"""What can go wrong in a training.

TrainerError
├── SpecInvalid      the spec asks for what cannot be; carries every mistake with its pointer
├── DataInvalid      the data set cannot be read or does not fit the spec
│   └── DataRefused  files that make no data set; carries what is wrong, entry by entry
├── DataLost         images that were there can no longer be read
├── DeviceUnavailable  the devices that the spec asks for are not here
├── PeerLost         another process of the same training is gone
├── ExecutionUnavailable  the precision or compiler that the spec asks for cannot be had here
├── LintRefused      the network starts badly, and the spec refuses that
├── InitializationFailed  the images give the network nothing to start from
├── Diverged         the loss is no longer a finite number
├── CannotExport     these snapshots do not become a file of this format
└── CheckpointDamaged  a checkpoint cannot be read, or belongs to another spec or data set
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong with a spec.

    `pointer` is the RFC 6901 JSON Pointer of the value in the document as the user wrote it; the empty string
    is the whole document. `code` is a stable word for programs, `detail` a sentence for people that says what
    is wrong and what would be right.
    """

    pointer: str
    code: str
    detail: str


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with what a data set is to be made of.

    `entry` is the file's path in the folder or archive, or the source's own name where it is about the whole. `code` is
    a stable word for programs, `detail` a sentence for people that says what is wrong and what would be right.
    """

    entry: str
    code: str
    detail: str


@dataclass(frozen=True)
class SpecWarning:
    """Something that will run, but hardly as wished. `pointer` and `code` as in `Mistake`."""

    pointer: str
    code: str
    detail: str


class TrainerError(Exception):
    """Base of all errors that the trainer raises on purpose."""

    hint: str | None = None


class SpecInvalid(TrainerError):
    """The spec cannot be trained. `mistakes` is never empty."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("; ".join(f"{mistake.pointer or '/'}: {mistake.detail}" for mistake in mistakes))
        self.mistakes = tuple(mistakes)


class DataInvalid(TrainerError):
    """A data set that cannot be read; the message names the file and the reason."""


class DataRefused(DataInvalid):
    """What was given makes no data set.

    `findings` is never empty and holds the first ones only; `count` is how many there were.
    """

    def __init__(self, findings: Sequence[Finding], count: int | None = None) -> None:
        self.findings = tuple(findings)
        self.count = len(self.findings) if count is None else count
        told = [f"{finding.entry}: {finding.detail}" for finding in self.findings]
        more = self.count - len(told)
        super().__init__("\n".join(told + ([f"… and {more} more."] if more else [])))


class DataLost(TrainerError):
    """A file that training reads its images from has changed under it; the message names the file."""

    hint = "Put the data set's files back as they were; the training goes on from its last checkpoint."


class DeviceUnavailable(TrainerError):
    """The device that the spec asks for is not on this machine, or not as many."""


class PeerLost(TrainerError):
    """Another process of a training on several devices is gone."""


class ExecutionUnavailable(TrainerError):
    """What the spec's `execution` asks for cannot be had on this device or machine."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class LintRefused(TrainerError):
    """The network starts badly, and the spec says `lint: refuse`."""

    hint = "Mend what is found, or set inspection.lint to warn."


class InitializationFailed(TrainerError):
    """An initialization that looks at images cannot make anything of them."""

    hint = "Use more network.initialization.images, or an initialization that looks at none, such as he."


class Diverged(TrainerError):
    """The loss became NaN or infinite at `step` (counted from 1 over the whole training).

    `layer` is the first whose weights or outputs are not finite, None where all are; `checkpoint_step` is that of the
    last checkpoint, None before the first.
    """

    def __init__(
        self, step: int, epoch: int, loss: float, learning_rate: float, layer: str | None, checkpoint_step: int | None
    ) -> None:
        where = f" The first values that are not finite stand in layer {layer}." if layer else ""
        kept = (
            "There was no checkpoint yet."
            if checkpoint_step is None
            else f"The last checkpoint was that of step {checkpoint_step}."
        )
        super().__init__(
            f"The loss became {loss} at step {step} (epoch {epoch}), where the learning rate was {learning_rate:g}."
            f"{where} {kept}"
        )
        self.hint = "Lower schedule.learning_rate, or add network.batch_norm or a smaller initialization."
        self.step = step
        self.epoch = epoch
        self.layer = layer
        self.checkpoint_step = checkpoint_step


class CannotExport(TrainerError):
    """Why these snapshots do not become a file of this format."""


class CheckpointDamaged(TrainerError):
    """A checkpoint that is no good for this training; the message says why."""
