"""When to look inside the network."""

from math import ceil
from typing import Annotated, Literal

from pydantic import Field

from trainer.spec.part import Part

USUAL_INSPECTIONS = 20


class Inspection(Part):
    """Statistics of each layer: outputs, gradients, dead units, update sizes. Always taken at initialisation.

    Of several independent members, each is inspected after the same epochs of its own, the first at initialisation too.
    """

    every: int | None = Field(
        default=None,
        ge=0,
        le=10_000,
        description="Epochs between two inspections, 0 for none; left out: as many as make at most twenty inspections.",
    )
    epochs: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field(
        default=(), max_length=1_000, description="Epochs to inspect after, beside those of `every`."
    )
    lint: Literal["warn", "refuse", "off"] = Field(
        default="warn",
        description="What follows when the layers start badly (vanishing, exploding, dead, saturated or equal "
        "units): a warning among the job's events, the end of the job, or nothing.",
    )

    def comes_after(self, epoch: int, epochs: int) -> bool:
        """Whether the layers are inspected after an epoch of a training of `epochs`."""
        every = ceil(epochs / USUAL_INSPECTIONS) if self.every is None else self.every
        return epoch in self.epochs or (every > 0 and epoch % every == 0)
