"""The training loop: a spec and a data set in, events out.

    PhaseStarted(loading_data) TrainingStarted PhaseStarted(training)
    at the very start:  LayersInspected  [LintFound…]
    each epoch of each member:  StepsFinished…  EpochFinished  [LayersInspected]  [SnapshotTaken]  [NetworkPruned]
                                [CheckpointReady]
    PhaseStarted(scoring) [SnapshotTaken of averaged weights] [EnsembleScored] TrainingFinished

A `CheckpointReady` says that everything up to its step has been reported. A training that goes on from it
reports the rest and ends with the same bits as one that was never stopped, on the same kind of device.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer import (
    averages,
    build,
    checkpoint,
    dropout,
    ensemble,
    execution,
    inspect,
    networks,
    preprocess,
    pruning,
    snapshot,
)
from trainer.augment import Augment
from trainer.batches import Batches
from trainer.data import DataSet
from trainer.device import algorithms, describe
from trainer.divergence import first_not_finite
from trainer.errors import CheckpointDamaged, Diverged, LintRefused
from trainer.evaluate import BATCH_SIZE, log_probabilities, scores
from trainer.events import (
    CheckpointReady,
    EnsembleMember,
    EnsembleScored,
    EpochFinished,
    Event,
    LayersInspected,
    NetworkPruned,
    PhaseStarted,
    Scores,
    SnapshotTaken,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
    TrainingStopped,
    VoteScores,
)
from trainer.initialize import initialize
from trainer.lint import lint
from trainer.optimizer import Updates
from trainer.plan import Plan, check
from trainer.schedule import Observed, learning_rate, observe
from trainer.spec import FixupInitialization, IndependentEnsemble, SnapshotEnsemble, TrainingSpec

MODEL, UPDATES, MASK, AVERAGES = "model.", "updates.", "mask.", "averages."
LOSSES, CORRECT = "losses", "correct"

INSPECTED_IMAGES = 16
"""Of an inspection after an epoch; few, because it is to cost next to nothing."""


@dataclass(frozen=True)
class Resume:
    """A checkpoint to go on from, and the files of the snapshots that were taken up to it, oldest first."""

    checkpoint: Path
    snapshots: Sequence[Path] = ()


def train(
    spec: TrainingSpec,
    data: DataSet,
    *,
    device: torch.device,
    resume: Resume | None = None,
    checkpoint_seconds: float = 60.0,
    report_seconds: float = 0.25,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Train `spec` on `data`, reporting the first step, then every `report_seconds` and at each epoch's end.

    A checkpoint comes with each epoch and every `checkpoint_seconds` inside one. Once `stop()` is true the step
    in hand is finished, a checkpoint made, and `TrainingStopped` is the last event. Torch is set to deterministic
    algorithms, or to any, while the iterator runs. Raises `SpecInvalid`, `ExecutionUnavailable`, `CheckpointDamaged`
    or `Diverged`.
    """
    plan = check(spec, data.facts)
    pace = Pace(checkpoint_seconds, report_seconds, stop)
    with algorithms(deterministic=spec.execution.deterministic):
        yield PhaseStarted("loading_data")
        training = Training(plan, data, device)
        if resume:
            training.restore(resume)
        yield training.started()
        yield PhaseStarted("training")
        if not resume:
            yield from training.first_look()
        while not training.is_finished:
            yield from training.run_epoch(pace)
            if training.stopped:
                yield TrainingStopped(training.step)
                return
        yield PhaseStarted("scoring")
        yield from training.score()
        yield TrainingFinished(training.step)


@dataclass(frozen=True)
class Pace:
    """How often a training reports and checkpoints, in seconds, and when it is to stop."""

    checkpoint_seconds: float
    report_seconds: float
    stop: Callable[[], bool]


class Training:
    """A training at a point between two steps.

    `member` is the one in hand, counted from 0; `epoch` counts its finished epochs, `done` steps of the next. All that
    is drawn, and the schedule's clock, depend on these and on the member's seed; reports count through all members.
    """

    member: int
    epoch: int
    done: int
    seed: int
    model: nn.Sequential
    memory_format: execution.MemoryFormat
    executor: execution.Executor
    mask: pruning.Mask | None
    updates: Updates
    average: averages.RunningAverage | None
    observed: Observed
    weights_before: Mapping[str, Tensor] | None

    def __init__(self, plan: Plan, data: DataSet, device: torch.device) -> None:
        self.spec = plan.spec
        self.plan = plan
        self.data = data
        self.device = device
        self.has_reported = False
        self.stopped = False
        self.fitted = preprocess.fitted(self.spec.preprocessing, data.train.images)
        self.batches = Batches(
            data.train,
            self.spec.batch_size,
            device,
            self.spec.seed,
            drop_last=self.spec.last_batch == "drop",
        )
        self.batch_sizes = self.batches.sizes()
        self.augment = Augment(self.spec.augmentation, data.train.images, len(data.classes), device, self.spec.seed)
        self.losses = torch.zeros(plan.steps_per_epoch, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self.validation_images = torch.tensor(data.validation.images, device=device)
        self.validation_labels = torch.tensor(data.validation.labels)
        self.kept: list[tuple[int, Mapping[str, Tensor]]] = []
        self.last_checkpoint: CheckpointReady | None = None
        self._begin(0)

    @property
    def epochs_done(self) -> int:
        """Epochs finished over the whole training."""
        return self.member * self.spec.epochs + self.epoch

    @property
    def step(self) -> int:
        """Steps done over the whole training."""
        return self.epochs_done * self.plan.steps_per_epoch + self.done

    @property
    def member_step(self) -> int:
        """Steps done of the member in hand."""
        return self.epoch * self.plan.steps_per_epoch + self.done

    @property
    def is_finished(self) -> bool:
        """Whether no epoch is left."""
        return self.epochs_done == self.spec.total_epochs

    def started(self) -> TrainingStarted:
        """What begins now."""
        return TrainingStarted(
            device=str(self.device),
            parameters=self.plan.parameters,
            epochs=self.spec.total_epochs,
            steps_per_epoch=self.plan.steps_per_epoch,
            first_step=self.step + 1,
            environment=self._environment(),
        )

    def first_look(self) -> Iterator[Event]:
        """The layers before the first step, and what is wrong with them. Raises `LintRefused` where that is fatal."""
        inspected = self._inspect(self.spec.batch_size)
        yield inspected
        if self.spec.inspection.lint == "off":
            return
        is_fixup = isinstance(self.spec.network.initialization, FixupInitialization)
        found = list(lint(inspected.layers, are_zeros_meant=is_fixup))
        yield from found
        if found and self.spec.inspection.lint == "refuse":
            raise LintRefused(" ".join(one.detail for one in found))

    def run_epoch(self, pace: Pace) -> Iterator[Event]:
        """The rest of the epoch in hand, or as much of it as `pace.stop` leaves."""
        began = time.monotonic()
        first = self.done
        yield from self._steps(pace)
        if self.stopped:
            yield self._checkpoint()
            return
        trained = sum(self.batch_sizes[first:])
        speed = trained / (time.monotonic() - began)
        validation = self._validate()
        rate = self._rate(self.done - 1)
        losses = self.losses.tolist()
        correct = int(self.correct)
        self.epoch, self.done = self.epoch + 1, 0
        epoch = (self.epoch - 1) % self.spec.epochs_each + 1
        self.observed = observe(self.spec.schedule, self.observed, epoch, validation.negative_log_likelihood)
        if self.average:
            self.average.after_epoch(self.epoch, self.spec.epochs)
        self.correct.zero_()
        seen = sum(self.batch_sizes)
        yield EpochFinished(
            epoch=self.epochs_done,
            step=self.step,
            train_loss=math.fsum(map(math.prod, zip(losses, self.batch_sizes, strict=True))) / seen,
            train_accuracy=correct / seen,
            validation_loss=validation.negative_log_likelihood,
            validation_accuracy=validation.accuracy,
            learning_rate=rate,
            images_per_second=speed,
            seconds=time.monotonic() - began,
        )
        yield from self._after_epoch(validation)

    def _after_epoch(self, validation: Scores) -> Iterator[Event]:
        """What follows an epoch: a look at the layers, a snapshot, the next member, a checkpoint."""
        if self._is_inspected(self.epoch):
            yield self._inspect(INSPECTED_IMAGES)
        if self.epochs_done in self.plan.snapshot_epochs:
            number = self.plan.snapshot_epochs.index(self.epochs_done) + 1
            yield self._snapshot(number, validation)
        if self.mask and self.epoch % self.spec.epochs_each == 0 and self.epoch < self.spec.epochs:
            yield self._prune(self.mask)
        if self.is_finished:
            return
        if self.epoch == self.spec.epochs:
            self._begin(self.member + 1)
        yield self._checkpoint()

    def score(self) -> Iterator[Event]:
        """What the spec asks for beside the last model alone: an ensemble of snapshots, or averaged weights."""
        match self.spec.ensemble:
            case SnapshotEnsemble(kind=kind) | IndependentEnsemble(kind=kind):
                yield ensemble.score(kind, self.model, self.kept, self.validation_images, self.validation_labels)
        if self.average:
            yield from self._score_average(self.average)

    def _score_average(self, average: averages.RunningAverage) -> Iterator[Event]:
        """The averaged weights as one more snapshot, and their scores as those of an ensemble of one."""
        alone = self._validate()
        average.put_into_model()
        averages.recompute_statistics(self.model, self._further_epoch())
        found = self._validate()
        number = len(self.plan.snapshot_epochs) + 1
        yield self._snapshot(number, found, average=average.rule.kind, averaged=average.count)
        yield EnsembleScored(
            kind=average.rule.kind,
            members=(EnsembleMember(number, 1.0, found),),
            scores=found,
            single=alone,
            geometric_mean=found,
            majority_vote=VoteScores(found.accuracy, found.error),
            averaged=average.count,
        )

    def restore(self, resume: Resume) -> None:
        """Go on from a checkpoint of the same spec and data. Raises `CheckpointDamaged`."""
        tensors, facts = checkpoint.read(resume.checkpoint)
        if facts.get("spec_sha256") != self.spec.sha256 or facts.get("dataset_sha256") != self.data.sha256:
            raise CheckpointDamaged("The checkpoint belongs to another spec or data set.")
        try:
            self._load(tensors, facts)
            for path in resume.snapshots:
                weights, provenance = snapshot.read(path)
                self._remember(provenance["number"], weights)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointDamaged(f"The checkpoint does not fit the network: {error}") from error
        self.last_checkpoint = CheckpointReady(self.epochs_done, self.step, tensors, facts)

    def _begin(self, member: int) -> None:
        """Start a member from its own seed; of the one before nothing is left but its snapshot."""
        self.member, self.epoch, self.done = member, 0, 0
        self.seed = ensemble.member_seed(self.spec.seed, member + 1)
        self.batches = self.batches.with_seed(self.seed)
        self.augment = self.augment.with_seed(self.seed)
        self.model = self._model()
        self.memory_format = self._memory_format()
        self.model.to(memory_format=execution.FORMATS[self.memory_format])  # type: ignore[call-overload]
        self.mask = pruning.Mask(self.model) if self.spec.pruning else None
        self._forget_updates()
        self.correct.zero_()
        self.weights_before = None

    def _forget_updates(self) -> None:
        """Update from now on as if no step had been done."""
        self.executor = execution.Executor(self.model, self.spec.execution, self.device, self.spec.batch_size)
        self.updates = Updates(self.model, self.spec.optimizer, self.spec.regularization)
        self.average = averages.of(self.model, self.spec.ensemble)
        self.observed = Observed()

    def _load(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go to where a checkpoint was made. Raises what torch does where it is of another network."""
        epochs_done, done = divmod(facts["step"], self.plan.steps_per_epoch)
        member, epoch = divmod(epochs_done, self.spec.epochs)
        self._begin(member)
        self.epoch, self.done = epoch, done
        self.model.load_state_dict(_under(MODEL, tensors))
        self.updates.restore(_under(UPDATES, tensors))
        self.observed = Observed(**facts["observed"])
        self.executor.restore(facts["executor"])
        if self.mask:
            self.mask.load(_under(MASK, tensors))
        if self.average:
            self.average.restore(_under(AVERAGES, tensors), facts["averaged"])
        losses = tensors[LOSSES]
        self.losses[: len(losses)] = losses
        self.correct.copy_(tensors[CORRECT])

    def _model(self) -> nn.Sequential:
        layers = networks.describe(self.spec.network, self.data.facts.shape, len(self.data.classes))
        model = build.build(layers, self.data.facts.shape, self.fitted)
        initialize(model, self.spec.network.initialization, self.seed, self.data.train.images)
        return model.to(self.device)

    def _memory_format(self) -> execution.MemoryFormat:
        images, labels = self.batches.first(self.spec.batch_size)
        return execution.memory_format(self.model, self.spec.execution, self.device, images, labels)

    def _steps(self, pace: Pace) -> Iterator[Event]:
        """Train to the end of the epoch. No value is read from the device but for a report."""
        reported, reported_at = self.done, time.monotonic()
        checkpoint_at = reported_at + pace.checkpoint_seconds
        self.model.train()
        for images, labels in self.batches.epoch(self.epoch + 1, skip=self.done):
            if pace.stop():
                self.stopped = True
                break
            if time.monotonic() > checkpoint_at:
                yield from self._report(reported, reported_at)
                yield self._checkpoint()
                reported, reported_at = self.done, time.monotonic()
                checkpoint_at = reported_at + pace.checkpoint_seconds
            if self.done == self.plan.steps_per_epoch - 1 and self._is_inspected(self.epoch + 1):
                self.weights_before = inspect.copy_weights(self.model)
            self._train(images, labels)
            if not self.has_reported or time.monotonic() - reported_at > pace.report_seconds:
                yield from self._report(reported, reported_at)
                reported, reported_at = self.done, time.monotonic()
        yield from self._report(reported, reported_at)

    def _train(self, images: Tensor, labels: Tensor) -> None:
        """One update: augment, forward, loss, backward, step."""
        changed, targets = self._drawn(images, labels, self.member_step + 1)
        logits = self.executor.logits(changed)
        loss = functional.cross_entropy(logits, targets, label_smoothing=self.spec.loss.label_smoothing)
        self.updates.zero_grad()
        self.executor.backward(loss)
        if self.mask:
            self.mask.hold_gradients()
        self.executor.update(self.updates, self._rate(self.done))
        if self.mask:
            self.mask.hold()
        if self.average:
            self.average.after_step()
        self.losses[self.done] = loss.detach()
        self.correct += (logits.detach().argmax(1) == labels).sum()
        self.done += 1

    def _drawn(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The batch as the member's `step` changes it, and its targets; dropout is given its draws."""
        dropout.reseed(self.model, self.device, self.seed, step)
        return self.augment(images, labels, step)

    def _further_epoch(self) -> Iterator[Tensor]:
        """Images as the epoch after the last would see them: in its order, with its augmentation and its dropout."""
        for done, (images, labels) in enumerate(self.batches.epoch(self.epoch + 1)):
            changed, _ = self._drawn(images, labels, self.member_step + done + 1)
            yield changed

    def _rate(self, done: int) -> float:
        """The learning rate of the step after `done` steps of the epoch in hand."""
        each = self.spec.epochs_each
        clock = self.epoch % each + done / self.plan.steps_per_epoch
        return learning_rate(self.spec.schedule, clock, each, self.observed.reductions)

    def _report(self, start: int, since: float) -> Iterator[Event]:
        """The steps of the epoch in hand from `start` on; raises `Diverged` at the first that is not finite."""
        losses = self.losses[start : self.done].tolist()
        finite = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
        images = sum(self.batch_sizes[start : self.done])
        rates = [self._rate(done) for done in range(start, self.done)]
        first_step = self.epochs_done * self.plan.steps_per_epoch + start + 1
        self.has_reported = True
        if finite:
            yield StepsFinished(
                epoch=self.epochs_done + 1,
                first_step=first_step,
                losses=tuple(losses[:finite]),
                learning_rates=tuple(rates[:finite]),
                images_per_second=images / (time.monotonic() - since),
            )
        if finite < len(losses):
            raise self._diverged(start + finite, losses[finite], rates[finite])

    def _diverged(self, done: int, loss: float, rate: float) -> Diverged:
        """The error of a loss that is not finite in the step after `done` of the epoch in hand.

        By now the values have spread to all weights: what was trained since the last checkpoint is trained once more,
        up to that step.
        """
        epoch, layer = self.epochs_done + 1, None
        step = self.epochs_done * self.plan.steps_per_epoch + done + 1
        self._rewind()
        for images, labels in self.batches.epoch(self.epoch + 1, skip=self.done):
            if self.done == done:
                changed, _ = self._drawn(images, labels, self.member_step + 1)
                layer = self._first_not_finite(changed)
                break
            self._train(images, labels)
        return Diverged(step, epoch, loss, rate, layer, self._checkpoint_step)

    def _rewind(self) -> None:
        """Go back to the last checkpoint, or to the very start."""
        if self.last_checkpoint is None:
            self._begin(0)
            return
        # Its tensors may still be on their way to a file.
        tensors = {name: tensor.clone() for name, tensor in self.last_checkpoint.tensors.items()}
        self._load(tensors, self.last_checkpoint.facts)

    def _first_not_finite(self, images: Tensor) -> str | None:
        return first_not_finite(self.model, {row.name for row in self.plan.layers}, images)

    @property
    def _checkpoint_step(self) -> int | None:
        return self.last_checkpoint.step if self.last_checkpoint else None

    def _validate(self) -> Scores:
        """Scores on the validation split; raises `Diverged` when the loss there is not finite."""
        found = scores(log_probabilities(self.model, self.validation_images), self.validation_labels)
        loss = found.negative_log_likelihood
        if not math.isfinite(loss):
            self.model.eval()
            batches = torch.split(self.validation_images, BATCH_SIZE)
            layer = next(filter(None, map(self._first_not_finite, batches)), None)
            epoch = self.epochs_done + min(self.done, 1)
            raise Diverged(self.step, epoch, loss, self._rate(self.done - 1), layer, self._checkpoint_step)
        return found

    def _is_inspected(self, epoch: int) -> bool:
        return self.spec.inspection.comes_after(epoch, self.spec.epochs)

    def _inspect(self, count: int) -> LayersInspected:
        """The layers on the first `count` images of the training split, as they are."""
        images, labels = self.batches.first(count)
        layers = inspect.inspect(self.model, self.plan.layers, images, labels, self.weights_before)
        return LayersInspected(self.epochs_done, self.step, layers)

    def _snapshot(self, number: int, found: Scores, **facts: Any) -> SnapshotTaken:
        """The model as it is; `facts` say in its provenance what else there is to say."""
        weights = _on_host(self.model.state_dict())
        self._remember(number, weights)
        return SnapshotTaken(
            number=number,
            epoch=self.epochs_done,
            step=self.step,
            scores=found,
            weights=weights,
            provenance=self._provenance(number, found) | facts,
        )

    def _prune(self, mask: pruning.Mask) -> NetworkPruned:
        """Prune, and set everything else back to how the training started."""
        assert self.spec.pruning
        mask.prune(self.spec.pruning)
        self.model.load_state_dict(self._model().state_dict())
        mask.hold()
        self._forget_updates()
        number = self.epoch // self.spec.epochs_each
        return NetworkPruned(number, self.epochs_done, self.step, mask.sparsity(), mask.layers())

    def _remember(self, number: int, weights: Mapping[str, Tensor]) -> None:
        """Keep the snapshots that the ensemble will be made of."""
        match self.spec.ensemble:
            case SnapshotEnsemble(last=count) | IndependentEnsemble(members=count):
                self.kept = [*self.kept, (number, weights)][-count:]

    def _provenance(self, number: int, found: Scores) -> dict[str, Any]:
        return {
            "spec": self.spec.model_dump(mode="json"),
            "spec_sha256": self.spec.sha256,
            "dataset": {"name": self.data.name, "sha256": self.data.sha256},
            "classes": list(self.data.classes),
            "input_shape": list(self.data.facts.shape),
            "number": number,
            "member": self.member + 1,
            "seed": self.seed,
            "epoch": self.epochs_done,
            "step": self.step,
            "sparsity": self.mask.sparsity() if self.mask else 0.0,
            "scores": asdict(found),
            "environment": self._environment(),
        }

    def _environment(self) -> dict[str, str]:
        return describe(self.device, self.spec.execution, self.memory_format)

    def _checkpoint(self) -> CheckpointReady:
        tensors = {MODEL + name: tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {UPDATES + name: tensor for name, tensor in self.updates.state().items()}
        if self.mask:
            tensors |= {MASK + name: kept for name, kept in self.mask.state().items()}
        if self.average:
            tensors |= {AVERAGES + name: tensor for name, tensor in self.average.state().items()}
        tensors[LOSSES] = self.losses[: self.done]
        tensors[CORRECT] = self.correct
        facts = {
            "step": self.step,
            "observed": asdict(self.observed),
            "executor": self.executor.state(),
            "averaged": self.average.count if self.average else 0,
            "spec_sha256": self.spec.sha256,
            "dataset_sha256": self.data.sha256,
        }
        self.last_checkpoint = CheckpointReady(self.epochs_done, self.step, _on_host(tensors), facts)
        return self.last_checkpoint


def _on_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in host memory that training no longer touches."""
    return {
        name: tensor.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
        for name, tensor in tensors.items()
    }


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): item for name, item in tensors.items() if name.startswith(prefix)}
