"""What every part of a spec is."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of the spec: immutable, strict about types, without unknown keys, NaN or infinities.

    `elsewhere` has keys that the part does not take, and sentences that tell where what they mean is written.
    """

    elsewhere: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
