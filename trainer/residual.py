"""Residual blocks (He 2015)."""

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn


class Residual(nn.Module):
    """`after(branch(units) + shortcut(units))`; an empty shortcut is the identity.

    Layers of the branch and those after the sum are children by their own names, those of the shortcut under
    `shortcut`.
    """

    def __init__(
        self, branch: Mapping[str, nn.Module], shortcut: Mapping[str, nn.Module], after: Mapping[str, nn.Module]
    ) -> None:
        super().__init__()
        for name, module in (*branch.items(), *after.items()):
            self.add_module(name, module)
        self.shortcut = nn.Sequential(OrderedDict(shortcut))
        self._branch = tuple(branch)
        self._after = tuple(after)

    @property
    def branch(self) -> tuple[nn.Module, ...]:
        """The layers between the input and the sum."""
        return tuple(self.get_submodule(name) for name in self._branch)

    def forward(self, units: Tensor) -> Tensor:
        return self._through(self._after, self._through(self._branch, units) + self.shortcut(units))

    def _through(self, names: tuple[str, ...], units: Tensor) -> Tensor:
        for name in names:
            units = self.get_submodule(name)(units)
        return units
