"""What every part of a spec is."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of the spec: immutable, strict about types, without unknown keys, NaN or infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
