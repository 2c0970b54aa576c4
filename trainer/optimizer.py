"""Updates by torch.optim, set up so that each rule is the one written in the spec.

A step: the loss's gradient is clipped; L1 is added to it; weights decay where that is decoupled; torch's optimizer,
which adds L2 to the gradient, moves the weights; long weight vectors are cut.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from trainer import regularize
from trainer.spec import (
    AdaGrad,
    Adam,
    AdamW,
    AveragedMomentum,
    ClassicalMomentum,
    Momentum,
    NesterovMomentum,
    NoMomentum,
    Optimizer,
    Regularization,
    RmsProp,
    Sgd,
)

SGD_VELOCITY, STEP_COUNT = "momentum_buffer", "step"
"""torch's names of state."""


@dataclass(frozen=True)
class Group:
    """Parameters that are updated alike: at `factor` times the schedule's rate, with penalties or without."""

    parameters: list[nn.Parameter]
    factor: float
    penalised: bool


class Updates:
    """Moves the weights of a `model` that is on its device. Parameters of frozen layers no longer take gradients."""

    def __init__(self, model: nn.Module, spec: Optimizer, regularization: Regularization) -> None:
        self._parameters = dict(model.named_parameters())
        self._regularization = regularization
        self._groups = list(_groups(self._parameters, spec, regularization))
        self._optimizer = _torch_optimizer(spec, self._groups, regularization.weight_decay)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """torch's groups of parameters: all that a gradient scaler asks of an optimizer, beside `step`."""
        return self._optimizer.param_groups

    def zero_grad(self) -> None:
        """Forget the gradients of the last step."""
        self._optimizer.zero_grad()

    def gradients(self) -> list[Tensor]:
        """The gradients at hand."""
        return [parameter.grad for parameter in self._parameters.values() if parameter.grad is not None]

    def step(self, rate: float) -> None:
        """One update by the gradients at hand."""
        rules = self._regularization
        if rules.gradient_clipping:
            nn.utils.clip_grad_norm_(self._parameters.values(), rules.gradient_clipping.norm)
        for group, settings in zip(self._groups, self._optimizer.param_groups, strict=True):
            settings["lr"] = rate * group.factor
            if rules.l1 and group.penalised:
                regularize.add_l1(group.parameters, rules.l1)
            if rules.decoupled_weight_decay and group.penalised:
                regularize.decay(group.parameters, rate * group.factor * rules.decoupled_weight_decay)
        self._optimizer.step()
        if rules.max_norm is not None:
            for group in self._groups:
                regularize.limit_norms([item for item in group.parameters if _is_weight(item)], rules.max_norm)

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on beside weights and gradients, by `KEY.PARAMETER`."""
        return {
            f"{key}.{name}": value
            for name, parameter in self._parameters.items()
            for key, value in self._optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave. Raises `KeyError` or `RuntimeError` where it is of another network."""
        self._optimizer.state.clear()
        for path, saved in state.items():
            key, _, name = path.partition(".")
            parameter = self._parameters[name]
            self._optimizer.state[parameter][key] = (
                saved.to(self._counter_device(parameter)) if key == STEP_COUNT else _laid_out_as(parameter, saved)
            )

    def _counter_device(self, parameter: nn.Parameter) -> torch.device:
        """Fused updates count steps where the weights are, others on the host."""
        return parameter.device if self._optimizer.defaults.get("fused") else torch.device("cpu")


def _laid_out_as(parameter: nn.Parameter, saved: Tensor) -> Tensor:
    """Fused updates walk through the memory of weights and state alike, whatever their strides say."""
    return torch.empty_like(parameter, requires_grad=False).copy_(saved)


def _torch_optimizer(spec: Optimizer, groups: list[Group], l2: float) -> torch.optim.Optimizer:
    """The learning rate is set at each step. Fused where torch has it: the fastest, on CPUs too."""
    match spec:
        case Sgd():
            return _sgd(spec.momentum, groups, l2)
        case AdaGrad(start=start, epsilon=epsilon):
            return torch.optim.Adagrad(
                _settings(groups, l2), lr=0.0, initial_accumulator_value=start, eps=epsilon, fused=True
            )
        case RmsProp(alpha=alpha, epsilon=epsilon, momentum=momentum, centered=centered):
            return torch.optim.RMSprop(
                _settings(groups, l2),
                lr=0.0,
                alpha=alpha,
                eps=epsilon,
                momentum=momentum,
                centered=centered,
                foreach=True,
            )
        case Adam():
            return torch.optim.Adam(_settings(groups, l2), **_adam_arguments(spec))
        case AdamW(weight_decay=weight_decay):
            return torch.optim.AdamW(_settings(groups, weight_decay), **_adam_arguments(spec))
        case _:
            assert_never(spec)


def _sgd(momentum: Momentum, groups: list[Group], l2: float) -> torch.optim.SGD:
    optimizer = torch.optim.SGD(_settings(groups, l2), lr=0.0, fused=True, **_momentum_arguments(momentum))
    if isinstance(momentum, AveragedMomentum) and momentum.start == "zero":
        # torch seeds the velocity with the whole first gradient; the rule starts at zero.
        for group in groups:
            for parameter in group.parameters:
                optimizer.state[parameter][SGD_VELOCITY] = torch.zeros_like(parameter)
    return optimizer


def _momentum_arguments(momentum: Momentum) -> dict[str, Any]:
    match momentum:
        case NoMomentum():
            return {}
        case AveragedMomentum(b=b):
            return {"momentum": 1 - b, "dampening": 1 - b}
        case ClassicalMomentum(m=m):
            return {"momentum": m}
        case NesterovMomentum(m=m):
            return {"momentum": m, "nesterov": True}
        case _:
            assert_never(momentum)


def _adam_arguments(spec: Adam | AdamW) -> dict[str, Any]:
    betas = (spec.beta1, spec.beta2)
    return {"lr": 0.0, "betas": betas, "eps": spec.epsilon, "amsgrad": spec.amsgrad, "fused": True}


def _settings(groups: list[Group], weight_decay: float) -> list[dict[str, Any]]:
    """torch's form of groups."""
    return [{"params": group.parameters, "weight_decay": weight_decay if group.penalised else 0.0} for group in groups]


def _groups(parameters: Mapping[str, nn.Parameter], spec: Optimizer, regularization: Regularization) -> Iterator[Group]:
    """By the factor of the layer, and by whether penalties spare a parameter as bias or batch norm."""
    found: dict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in parameters.items():
        factor = spec.layer_factor(name.rpartition(".")[0])
        if factor == 0:
            parameter.requires_grad_(False)
            continue
        penalised = _is_weight(parameter) or regularization.decay_biases_and_norms
        found[factor, penalised].append(parameter)
    for (factor, penalised), alike in found.items():
        yield Group(alike, factor, penalised)


def _is_weight(parameter: nn.Parameter) -> bool:
    """Biases and batch-norm parameters have one dimension."""
    return parameter.ndim > 1
