"""Running averages of weights: SWA over epochs (Izmailov 2018) and EMA over steps; the rules stand in `trainer.spec`.

What is averaged are weights and biases, those of batch norm included; the statistics of batch norm are no weights, and
those of the averaged model are computed anew. Nothing is read from the device.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.spec import Ensemble, ExponentialMovingAverage, StochasticWeightAveraging, WeightAveraging


class RunningAverage:
    """The average of the weights of a `model` on its device; `count` sets of weights are in it."""

    def __init__(self, model: nn.Module, rule: WeightAveraging) -> None:
        self.rule = rule
        self.count = 0
        self._weights = dict(model.named_parameters())
        self._averages = {name: weight.detach().clone() for name, weight in self._weights.items()}

    def after_step(self) -> None:
        """A step has moved the weights."""
        if isinstance(self.rule, ExponentialMovingAverage):
            self._approach(1 - self.rule.decay)

    def after_epoch(self, epoch: int, epochs: int) -> None:
        """`epoch` of `epochs`, counted from 1, is over."""
        if isinstance(self.rule, StochasticWeightAveraging) and epoch in self.rule.averaged(epochs):
            self._approach(1 / (self.count + 1))

    def state(self) -> dict[str, Tensor]:
        """The averages by name; `count` is the rest."""
        return self._averages

    def restore(self, state: Mapping[str, Tensor], count: int) -> None:
        """Go on from what `state` and `count` gave. Raises `KeyError` or `RuntimeError` for another network's."""
        for name, average in self._averages.items():
            average.copy_(state[name])
        self.count = count

    @torch.no_grad()
    def put_into_model(self) -> None:
        """Replace the model's weights by their averages."""
        for name, weight in self._weights.items():
            weight.copy_(self._averages[name])

    @torch.no_grad()
    def _approach(self, share: float) -> None:
        """`average += share * (weights - average)`."""
        # All tensors in a few kernels, as torch.optim.swa_utils does.
        torch._foreach_lerp_(list(self._averages.values()), list(self._weights.values()), share)
        self.count += 1


def of(model: nn.Module, ensemble: Ensemble) -> RunningAverage | None:
    """The average that an ensemble asks for, before the first step."""
    return RunningAverage(model, ensemble) if isinstance(ensemble, WeightAveraging) else None


@torch.no_grad()
def recompute_statistics(model: nn.Module, batches: Iterable[tuple[Tensor, int]]) -> None:
    """Set the statistics of batch norm to their means over batches of images, each with its weight (Izmailov 2018).

    The model sees them in training mode; weights stay as they are. Without batch norm nothing is run.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.train()
    for norm in norms:
        norm.reset_running_stats()
    seen = 0
    for images, weight in batches:
        seen += weight
        for norm in norms:
            norm.momentum = weight / seen
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)
