"""A model on its way: its weights and all that moves them, at a point between two steps."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from trainer import averages, build, dropout, ensemble, execution, networks, preprocess, pruning, synchronized
from trainer.augment import Augment
from trainer.batches import Batches
from trainer.data import DataSet
from trainer.events import NetworkPruned
from trainer.feed import Feed
from trainer.initialize import initialize
from trainer.optimizer import Updates
from trainer.plan import Plan
from trainer.replicas import ALONE, Replicas
from trainer.schedule import Observed, learning_rate, observe

MODEL, UPDATES, MASK, AVERAGES = "model.", "updates.", "mask.", "averages."
LOSSES, CORRECT = "losses", "correct"


class Learner:
    """Members of a training, one after another, each from its own seed; `begin` or `restore` comes first.

    `member` is the one in hand, counted from 0; `epoch` counts its finished epochs, `done` steps of the next. All that
    is drawn, and the schedule's clock, depend on these and on the member's seed. `losses` (steps of an epoch,) and
    `correct`, the images told right, are those of the epoch in hand, on the device.

    Where `replicas` train together, each has all of this, and makes whole batches of which it runs its part through
    the network; what the parts teach is summed before every update.
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

    def __init__(self, plan: Plan, data: DataSet, feed: Feed, replicas: Replicas = ALONE) -> None:
        """`feed` is that of the training split."""
        self.spec = plan.spec
        self.plan = plan
        self.data = data
        self.device = device = feed.device
        self.replicas = replicas
        self._augment = Augment(self.spec.augmentation, data.train.images, len(data.classes), device, self.spec.seed)
        self.batches = Batches(feed, self.spec.batch_size, self.spec.seed, drop_last=self.spec.last_batch == "drop")
        self.batch_sizes = self.batches.sizes()
        self.losses = torch.zeros(plan.steps_per_epoch, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)

    @property
    def epochs_done(self) -> int:
        """Epochs finished over the whole training."""
        return self.member * self.spec.epochs + self.epoch

    @property
    def step(self) -> int:
        """Steps done over the whole training."""
        return self.epochs_done * self.plan.steps_per_epoch + self.done

    @property
    def is_finished(self) -> bool:
        """Whether no epoch is left."""
        return self.epochs_done == self.spec.total_epochs

    def begin(self, member: int) -> None:
        """Start a member; of the one before nothing is left.

        Raises `ExecutionUnavailable` or `InitializationFailed`.
        """
        self._turn_to(member, epoch=0, done=0)
        self._take(self._fresh_model())
        self._lay_out(self.replicas.same(self._memory_format()))
        self.correct.zero_()

    def rest_of_epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches that are left of the epoch in hand, each to be given to `train`."""
        return self.batches.epoch(self.epoch + 1, skip=self.done)

    def train(self, images: Tensor, labels: Tensor) -> None:
        """One update: augment, forward, loss, backward, step. No value is read from the device."""
        part = self.replicas.part(len(images))
        changed, targets = self.drawn(images, labels, part)
        logits = self.executor.logits(changed)
        loss = functional.cross_entropy(logits, targets, label_smoothing=self.spec.loss.label_smoothing)
        correct = (logits.detach().argmax(1) == labels[part]).sum()
        self.updates.zero_grad()
        loss, correct = self._learn(loss, correct, share=len(logits) / len(images))
        if self.mask:
            self.mask.hold_gradients()
        self.executor.update(self.updates, self.rate(self.done))
        if self.mask:
            self.mask.hold()
        if self.average:
            self.average.after_step()
        self.losses[self.done] = loss
        self.correct += correct
        self.done += 1

    def share_statistics(self) -> None:
        """Take batch norm's running statistics from the first replica: unsynchronised, each has its own.

        Training does not depend on them; what is found on validation, and so a schedule, does.
        """
        norms = [module for module in self.model.modules() if isinstance(module, _BatchNorm)]
        self.replicas.share(buffer for norm in norms for buffer in norm.buffers())

    def finish_epoch(self, likelihood: float) -> None:
        """Turn to the next epoch, once all steps of the one in hand are done; `likelihood` was found on validation."""
        self.epoch, self.done = self.epoch + 1, 0
        epoch = (self.epoch - 1) % self.spec.epochs_each + 1
        self.observed = observe(self.spec.schedule, self.observed, epoch, likelihood)
        if self.average:
            self.average.after_epoch(self.epoch, self.spec.epochs)
        self.correct.zero_()

    def drawn(self, images: Tensor, labels: Tensor, part: slice, ahead: int = 1) -> tuple[Tensor, Tensor]:
        """Part of a batch as the step that is `ahead` changes it, and its targets; dropout is given its draws."""
        step = self.epoch * self.plan.steps_per_epoch + self.done + ahead
        dropout.reseed(self.model, self.device, self.seed, step, part.start, len(images))
        changed, targets = self._augment(images, labels, step)
        return changed[part], targets[part]

    def further_epoch(self) -> Iterator[tuple[Tensor, int]]:
        """Batches as the epoch after the last would see them: in its order, with its augmentation and its dropout.

        This replica's part of the images of each, and how many the whole batch has.
        """
        for number, (images, labels) in enumerate(self.batches.epoch(self.epoch + 1), start=1):
            changed, _ = self.drawn(images, labels, self.replicas.part(len(images)), ahead=number)
            yield changed, len(images)

    def rate(self, done: int) -> float:
        """The learning rate of the step after `done` steps of the epoch in hand."""
        return self._rate(self.epoch, done)

    @property
    def last_rate(self) -> float:
        """The learning rate of the member's last step."""
        if self.done:
            return self.rate(self.done - 1)
        return self._rate(self.epoch - 1, self.plan.steps_per_epoch - 1)

    def prune(self, mask: pruning.Mask) -> NetworkPruned:
        """Prune, and set everything else back to how the training started."""
        assert self.spec.pruning
        mask.prune(self.spec.pruning)
        self.model.load_state_dict(self._fresh_model().state_dict())
        self.replicas.share(self.model.state_dict().values())
        mask.hold()
        self._forget_updates()
        number = self.epoch // self.spec.epochs_each
        return NetworkPruned(number, self.epochs_done, self.step, mask.sparsity(), mask.layers())

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the next step depends on beside spec and data: tensors by name, on the device, and plain facts."""
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
            "memory_format": self.memory_format,
        }
        return tensors, facts

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go to where `state` was taken. Raises what torch does where it is of another network."""
        epochs_done, done = divmod(facts["step"], self.plan.steps_per_epoch)
        member, epoch = divmod(epochs_done, self.spec.epochs)
        self._turn_to(member, epoch, done)
        model = build.skeleton(self.spec, self.data.facts.shape, len(self.data.classes))
        model.load_state_dict(_under(MODEL, tensors))
        self._take(model)
        self._lay_out(facts["memory_format"])
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

    def _learn(self, loss: Tensor, correct: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Gradients of the whole batch's loss, from the mean over this part, which has `share` of the images.

        Returns the loss and the number of images told right, of the whole batch.
        """
        if self.replicas.count == 1:
            self.executor.backward(loss)
            return loss.detach(), correct
        loss = loss * share
        self.executor.backward(loss)
        figures = torch.stack([loss.detach(), correct.float()])
        self.replicas.add([*self.updates.gradients(), figures])
        return figures[0], figures[1].long()

    def _rate(self, epoch: int, done: int) -> float:
        each = self.spec.epochs_each
        clock = epoch % each + done / self.plan.steps_per_epoch
        return learning_rate(self.spec.schedule, clock, each, self.observed.reductions)

    def _forget_updates(self) -> None:
        """Update from now on as if no step had been done."""
        part = self.replicas.part(self.spec.batch_size)
        self.executor = execution.Executor(self.model, self.spec.execution, self.device, part.stop - part.start)
        self.updates = Updates(self.model, self.spec.optimizer, self.spec.regularization)
        self.average = averages.of(self.model, self.spec.ensemble)
        self.observed = Observed()

    def _turn_to(self, member: int, epoch: int, done: int) -> None:
        self.member, self.epoch, self.done = member, epoch, done
        self.seed = ensemble.member_seed(self.spec.seed, member + 1)
        self.batches = self.batches.with_seed(self.seed)
        self._augment = self._augment.with_seed(self.seed)

    @cached_property
    def _preprocessing(self) -> preprocess.Standardize:
        return preprocess.fitted(self.spec.preprocessing, self.data.train.images)

    def _fresh_model(self) -> nn.Sequential:
        """On the CPU, with its first weights."""
        layers = networks.describe(self.spec.network, self.data.facts.shape, len(self.data.classes))
        model = build.build(layers, self.data.facts.shape, deepcopy(self._preprocessing))
        initialize(model, self.spec.network.initialization, self.seed, self.data.train.images)
        return model

    def _take(self, model: nn.Sequential) -> None:
        """Train this one from now on; all replicas have the first's weights."""
        if self.replicas.count > 1 and self.spec.execution.sync_batch_norm:
            synchronized.convert(model, self.device)
        self.model = model.to(self.device)
        self.replicas.share(self.model.state_dict().values())

    def _lay_out(self, memory_format: execution.MemoryFormat) -> None:
        self.memory_format = memory_format
        self.model.to(memory_format=execution.FORMATS[memory_format])  # type: ignore[call-overload]
        self.mask = pruning.Mask(self.model) if self.spec.pruning else None
        self._forget_updates()

    def _memory_format(self) -> execution.MemoryFormat:
        images, labels = self.batches.first(self.spec.batch_size)
        part = self.replicas.part(len(images))
        return execution.memory_format(self.model, self.spec.execution, self.device, images[part], labels[part])


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): item for name, item in tensors.items() if name.startswith(prefix)}
