"""The training loop: a spec and a data set in, events out.

    PhaseStarted(loading_data) TrainingStarted PhaseStarted(training)
    at the very start:  LayersInspected  [LintFound…]
    each epoch of each member:  StepsFinished…  EpochFinished  [LayersInspected]  [SnapshotTaken]  [NetworkPruned]
                                [CheckpointReady]
    PhaseStarted(scoring) [SnapshotTaken of averaged weights] [EnsembleScored] TrainingFinished

Inside an epoch there may be a `CheckpointReady` too, and where a stop is asked for `TrainingStopped` after it. A
`CheckpointReady` says that everything up to its step has been reported. A training that goes on from it reports the
rest and ends with the same bits as one that was never stopped, on the same kind of device.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer import averages, checkpoint, ensemble, feed, inspect, snapshot
from trainer.data import DataSet
from trainer.device import algorithms, describe, room
from trainer.divergence import are_finite, first_not_finite, locate
from trainer.errors import CheckpointDamaged, DeviceUnavailable, Diverged, LintRefused
from trainer.evaluate import BATCH_SIZE, log_probabilities, scores
from trainer.events import (
    CheckpointReady,
    EnsembleMember,
    EnsembleScored,
    EpochFinished,
    Event,
    LayersInspected,
    PhaseStarted,
    Scores,
    SnapshotTaken,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
    TrainingStopped,
    VoteScores,
)
from trainer.feed import Feeds
from trainer.learner import Learner
from trainer.lint import lint
from trainer.plan import Plan, check
from trainer.replicas import ALONE, Replicas
from trainer.spec import FixupInitialization, IndependentEnsemble, SnapshotEnsemble, TrainingSpec

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
    replicas: Replicas = ALONE,
    resume: Resume | None = None,
    resident_bytes: int | None = None,
    checkpoint_seconds: float = 60.0,
    report_seconds: float = 0.25,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Train `spec` on `data`, reporting the first step, then every `report_seconds` and at each epoch's end.

    A checkpoint comes with each epoch and every `checkpoint_seconds` inside one. Once `stop()` is true the step
    in hand is finished, a checkpoint made, and `TrainingStopped` is the last event. Torch is set to deterministic
    algorithms, or to any, while the iterator runs.

    Images lie on the device where they take at most `resident_bytes` there, by default what its memory leaves; others
    are streamed from the host, with the same result to the bit.

    Of several `replicas` each runs this with a device of its own, and to the end; all report the same, at the times and
    with the resume and the stop of the first. Raises `SpecInvalid`, `DeviceUnavailable`, `ExecutionUnavailable`,
    `CheckpointDamaged`, `InitializationFailed`, `LintRefused`, `DataLost`, `Diverged` or `PeerLost`.
    """
    plan = check(spec, data.facts)
    if spec.devices != replicas.count:
        raise DeviceUnavailable(f"The spec asks for {spec.devices} devices, and {replicas.count} would train it.")
    pace = Pace(checkpoint_seconds, report_seconds, stop)
    with algorithms(deterministic=spec.execution.deterministic), ExitStack() as stack:
        yield PhaseStarted("loading_data")
        if resident_bytes is None:
            resident_bytes = room(device, plan.memory, replicas.count)
        feeds = stack.enter_context(feed.opened(data, device, resident_bytes))
        training = Training(plan, data, feeds, replicas)
        goes_on = training.restore(resume)
        if not goes_on:
            training.learner.begin(0)
        yield training.started()
        yield PhaseStarted("training")
        if not goes_on:
            yield from training.first_look()
        while not training.learner.is_finished:
            yield from training.run_epoch(pace)
            if training.stopped:
                yield TrainingStopped(training.learner.step)
                return
        yield PhaseStarted("scoring")
        yield from training.score()
        yield TrainingFinished(training.learner.step)


@dataclass(frozen=True)
class Pace:
    """How often a training reports and checkpoints, in seconds, and when it is to stop."""

    checkpoint_seconds: float
    report_seconds: float
    stop: Callable[[], bool]


class Due(IntFlag):
    """What is to be done before the next step."""

    REPORT = 1
    CHECKPOINT = 2
    STOP = 4


class Training:
    """A training at a point between two steps, and what it reports."""

    def __init__(self, plan: Plan, data: DataSet, feeds: Feeds, replicas: Replicas = ALONE) -> None:
        self.spec = plan.spec
        self.plan = plan
        self.data = data
        self.feeds = feeds
        self.replicas = replicas
        self.learner = Learner(plan, data, feeds.train, replicas)
        self.validation_labels = torch.tensor(data.validation.labels)
        self.kept: list[tuple[int, Mapping[str, Tensor]]] = []
        self.last_checkpoint: CheckpointReady | None = None
        self.weights_before: Mapping[str, Tensor] | None = None
        self.has_reported = False
        self.stopped = False

    def restore(self, resume: Resume | None) -> bool:
        """Go on from a checkpoint of the same spec and data, if the first replica has one.

        Raises `CheckpointDamaged`.
        """
        found = self.replicas.same(_read(resume) if resume else None)
        if found is None:
            return False
        (tensors, facts), taken = found
        if facts.get("spec_sha256") != self.spec.sha256 or facts.get("dataset_sha256") != self.data.sha256:
            raise CheckpointDamaged("The checkpoint belongs to another spec or data set.")
        try:
            # Sums in another order are other sums: it goes on with as many threads as it had.
            torch.set_num_threads(facts["threads"])
            self.learner.restore(tensors, facts)
            for weights, provenance in taken:
                self._remember(provenance["number"], weights)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointDamaged(f"The checkpoint does not fit the network: {error}") from error
        self.last_checkpoint = CheckpointReady(self.learner.epochs_done, self.learner.step, tensors, facts)
        return True

    def started(self) -> TrainingStarted:
        """What begins now."""
        return TrainingStarted(
            device=str(self.learner.device),
            parameters=self.plan.parameters,
            epochs=self.spec.total_epochs,
            steps_per_epoch=self.plan.steps_per_epoch,
            first_step=self.learner.step + 1,
            environment=self._environment(),
            streamed=self.feeds.streamed,
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
        learner, began, first = self.learner, time.monotonic(), self.learner.done
        yield from self._steps(pace)
        if self.stopped:
            yield self._checkpoint()
            return
        sizes = learner.batch_sizes
        speed = sum(sizes[first:]) / (time.monotonic() - began)
        validation = self._validate()
        losses, correct, rate = learner.losses.tolist(), int(learner.correct), learner.last_rate
        learner.finish_epoch(validation.negative_log_likelihood)
        yield EpochFinished(
            epoch=learner.epochs_done,
            step=learner.step,
            train_loss=math.fsum(map(math.prod, zip(losses, sizes, strict=True))) / sum(sizes),
            train_accuracy=correct / sum(sizes),
            validation_loss=validation.negative_log_likelihood,
            validation_accuracy=validation.accuracy,
            learning_rate=rate,
            images_per_second=speed,
            seconds=time.monotonic() - began,
        )
        yield from self._after_epoch(validation)

    def score(self) -> Iterator[Event]:
        """What the spec asks for beside the last model alone: an ensemble of snapshots, or averaged weights."""
        match self.spec.ensemble:
            case SnapshotEnsemble(kind=kind) | IndependentEnsemble(kind=kind):
                model = self.learner.model
                yield ensemble.score(kind, model, self.kept, self.feeds.validation, self.validation_labels)
        if self.learner.average:
            yield from self._score_average(self.learner.average)

    def _steps(self, pace: Pace) -> Iterator[Event]:
        """Train to the end of the epoch. No value is read from the device but for a report or a checkpoint."""
        learner = self.learner
        reported, reported_at = learner.done, time.monotonic()
        checkpoint_at = reported_at + pace.checkpoint_seconds
        learner.model.train()
        for images, labels in learner.rest_of_epoch():
            due = self._due(pace, reported, reported_at, checkpoint_at)
            if due:
                yield from self._report(reported, reported_at)
                reported, reported_at = learner.done, time.monotonic()
            # Weights that are not finite show in the next step's loss, and are not worth keeping.
            if due > Due.REPORT and are_finite(learner.model):
                if Due.STOP in due:
                    self.stopped = True
                    return
                yield self._checkpoint()
                checkpoint_at = time.monotonic() + pace.checkpoint_seconds
            if learner.done == self.plan.steps_per_epoch - 1 and self._is_inspected(learner.epoch + 1):
                self.weights_before = inspect.copy_weights(learner.model)
            learner.train(images, labels)
        yield from self._report(reported, reported_at)

    def _due(self, pace: Pace, reported: int, reported_at: float, checkpoint_at: float) -> Due:
        """What the first replica's clock and wish say."""
        now, due = time.monotonic(), Due(0)
        if self.learner.done > reported and (not self.has_reported or now - reported_at > pace.report_seconds):
            due |= Due.REPORT
        if now > checkpoint_at:
            due |= Due.CHECKPOINT
        if pace.stop():
            due |= Due.STOP
        return Due(self.replicas.agree(due))

    def _report(self, start: int, since: float) -> Iterator[Event]:
        """The steps of the epoch in hand from `start` on; raises `Diverged` at the first that is not finite."""
        learner = self.learner
        losses = learner.losses[start : learner.done].tolist()
        finite = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
        images = sum(learner.batch_sizes[start : learner.done])
        rates = [learner.rate(done) for done in range(start, learner.done)]
        first_step = learner.epochs_done * self.plan.steps_per_epoch + start + 1
        self.has_reported = True
        if finite:
            yield StepsFinished(
                epoch=learner.epochs_done + 1,
                first_step=first_step,
                losses=tuple(losses[:finite]),
                learning_rates=tuple(rates[:finite]),
                images_per_second=images / (time.monotonic() - since),
            )
        if finite < len(losses):
            epoch = learner.epochs_done + 1
            layer = locate(learner, self.last_checkpoint, start + finite)
            raise Diverged(first_step + finite, epoch, losses[finite], rates[finite], layer, self._checkpoint_step)

    @property
    def _checkpoint_step(self) -> int | None:
        return self.last_checkpoint.step if self.last_checkpoint else None

    def _validate(self) -> Scores:
        """Scores on the validation split; raises `Diverged` when the loss there is not finite."""
        learner = self.learner
        learner.share_statistics()
        predicted = log_probabilities(learner.model, self.feeds.validation)
        # A schedule may go by them: where devices differ in the last bit, the first one's hold for all.
        found = self.replicas.same(scores(predicted, self.validation_labels))
        loss = found.negative_log_likelihood
        if not math.isfinite(loss):
            learner.model.eval()
            names = {row.name for row in self.plan.layers}
            pieces = self.feeds.validation.pieces(BATCH_SIZE)
            layers = (first_not_finite(learner.model, names, images) for images in pieces)
            layer = next(filter(None, layers), None)
            epoch = learner.epochs_done + min(learner.done, 1)
            raise Diverged(learner.step, epoch, loss, learner.last_rate, layer, self._checkpoint_step)
        return found

    def _after_epoch(self, validation: Scores) -> Iterator[Event]:
        """What follows an epoch: a look at the layers, a snapshot, the next member, a checkpoint."""
        learner = self.learner
        if self._is_inspected(learner.epoch):
            yield self._inspect(INSPECTED_IMAGES)
        if learner.epochs_done in self.plan.snapshot_epochs:
            number = self.plan.snapshot_epochs.index(learner.epochs_done) + 1
            yield self._snapshot(number, validation)
        if learner.mask and learner.epoch % self.spec.epochs_each == 0 and learner.epoch < self.spec.epochs:
            yield learner.prune(learner.mask)
        if learner.is_finished:
            return
        if learner.epoch == self.spec.epochs:
            learner.begin(learner.member + 1)
            self.weights_before = None
        yield self._checkpoint()

    def _score_average(self, average: averages.RunningAverage) -> Iterator[Event]:
        """The averaged weights as one more snapshot, and their scores as those of an ensemble of one."""
        alone = self._validate()
        average.put_into_model()
        averages.recompute_statistics(self.learner.model, self.learner.further_epoch())
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

    def _is_inspected(self, epoch: int) -> bool:
        return self.spec.inspection.comes_after(epoch, self.spec.epochs)

    def _inspect(self, count: int) -> LayersInspected:
        """The layers on the first `count` images of the training split, as they are."""
        learner = self.learner
        images, labels = learner.batches.first(count)
        layers = inspect.inspect(learner.model, self.plan.layers, images, labels, self.weights_before)
        inputs = inspect.inputs(learner.model, images)
        return LayersInspected(learner.epochs_done, learner.step, inputs, layers)

    def _snapshot(self, number: int, found: Scores, **facts: Any) -> SnapshotTaken:
        """The model as it is; `facts` say in its provenance what else there is to say."""
        learner = self.learner
        weights = _on_host(learner.model.state_dict())
        self._remember(number, weights)
        provenance = snapshot.provenance(learner, number, found, self._environment())
        return SnapshotTaken(number, learner.epochs_done, learner.step, found, weights, provenance | facts)

    def _remember(self, number: int, weights: Mapping[str, Tensor]) -> None:
        """Keep the snapshots that the ensemble will be made of."""
        match self.spec.ensemble:
            case SnapshotEnsemble(last=count) | IndependentEnsemble(members=count):
                self.kept = [*self.kept, (number, weights)][-count:]

    def _environment(self) -> dict[str, str]:
        learner = self.learner
        return describe(learner.device, self.spec.execution, learner.memory_format, self.replicas.count)

    def _checkpoint(self) -> CheckpointReady:
        learner = self.learner
        tensors, facts = learner.state()
        facts |= {
            "threads": torch.get_num_threads(),
            "spec_sha256": self.spec.sha256,
            "dataset_sha256": self.data.sha256,
        }
        self.last_checkpoint = CheckpointReady(learner.epochs_done, learner.step, _on_host(tensors), facts)
        return self.last_checkpoint


def _read(resume: Resume) -> tuple[tuple[Any, Any], list[tuple[Any, Any]]]:
    """What the files hold. Raises `CheckpointDamaged`."""
    try:
        return checkpoint.read(resume.checkpoint), [snapshot.read(path) for path in resume.snapshots]
    except ValueError as error:
        raise CheckpointDamaged(f"A snapshot from before the checkpoint cannot be read: {error}") from error


def _on_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in host memory that training no longer touches."""
    return {
        name: tensor.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
        for name, tensor in tensors.items()
    }
