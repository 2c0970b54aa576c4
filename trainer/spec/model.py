"""Networks that predict together: what stands for a snapshot or an ensemble where it is used."""

from typing import Literal

from pydantic import Field

from trainer.spec.part import Part
from trainer.spec.queued import Id


class ModelMember(Part):
    """A snapshot and its share."""

    snapshot_id: Id
    weight: float = Field(gt=0)


class Model(Part):
    """One snapshot, or several that are combined; probabilities get the temperature last."""

    members: tuple[ModelMember, ...] = Field(min_length=1)
    combine: Literal["mean", "geometric_mean", "majority_vote"] = "mean"
    temperature: float | None = Field(default=None, gt=0)
