"""What devices there are for a training."""

from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Offer:
    """How many devices one training can have together, and which of a spec's `execution.precision` they compute in."""

    devices: int
    precisions: frozenset[str]

    def __or__(self, other: Self) -> "Offer":
        """What one of the two has."""
        return Offer(max(self.devices, other.devices), self.precisions | other.precisions)

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"devices": self.devices, "precisions": sorted(self.precisions)}

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """What `document` gave."""
        return cls(document["devices"], frozenset(document["precisions"]))
