"""Which weights of a network are left, and holding the others at zero (Frankle and Carbin 2019)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer import sparsity
from trainer.events import LayerPruned
from trainer.spec import LotteryTicket


class Mask:
    """Whether each weight of a `model`'s convolutions and linear layers is left, as all are at first; on its device."""

    def __init__(self, model: nn.Module) -> None:
        self._weights = {
            name: module.weight for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
        }
        self._kept = {name: torch.ones_like(weight, requires_grad=False) for name, weight in self._weights.items()}

    def hold(self) -> None:
        """Set pruned weights to zero."""
        with torch.no_grad():
            torch._foreach_mul_(list(self._weights.values()), list(self._kept.values()))

    def hold_gradients(self) -> None:
        """Set the gradients of pruned weights to zero, so that they count nowhere."""
        gradients = {name: weight.grad for name, weight in self._weights.items() if weight.grad is not None}
        torch._foreach_mul_(list(gradients.values()), [self._kept[name] for name in gradients])

    def prune(self, pruning: LotteryTicket) -> None:
        """Take one round's share of the weights that are left, the smallest ones; of equal ones the first."""
        # On the host, where the order of equal values is the same whatever the device.
        sizes = {name: weight.detach().abs().cpu().flatten() for name, weight in self._weights.items()}
        kept = {name: item.bool().cpu().flatten() for name, item in self._kept.items()}
        if pruning.scope == "global":
            together = _smallest_gone(torch.cat([*sizes.values()]), torch.cat([*kept.values()]), pruning.rate)
            parts = torch.split(together, [len(part) for part in kept.values()])
            pruned = dict(zip(kept, parts, strict=True))
        else:
            output = list(kept)[-1]
            rates = {name: sparsity.layer_rate(pruning, is_output=name == output) for name in kept}
            pruned = {name: _smallest_gone(sizes[name], kept[name], rates[name]) for name in kept}
        self.load({name: part.view(self._kept[name].shape) for name, part in pruned.items()})

    def layers(self) -> tuple[LayerPruned, ...]:
        """What is left of each layer."""
        return tuple(LayerPruned(name, kept.numel(), int(kept.count_nonzero())) for name, kept in self._kept.items())

    def sparsity(self) -> float:
        """Share of the weights that is pruned."""
        layers = self.layers()
        return 1 - sum(layer.left for layer in layers) / sum(layer.weights for layer in layers)

    def state(self) -> dict[str, Tensor]:
        """By layer, true where a weight is left."""
        return {name: kept.bool() for name, kept in self._kept.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave. Raises `KeyError`, or `RuntimeError` where shapes differ."""
        for name, kept in self._kept.items():
            kept.copy_(state[name])


def _smallest_gone(sizes: Tensor, kept: Tensor, rate: float) -> Tensor:
    """`kept` without a share of the ones in it, those of the smallest sizes."""
    order = torch.where(kept, sizes, torch.inf).argsort(stable=True)
    gone = order[: sparsity.count(int(kept.count_nonzero()), rate)]
    return kept.index_fill(0, gone, False)
