"""What the service needs to know of work that waits in its queue, whatever it is."""

import json
from hashlib import sha256
from typing import Annotated

from pydantic import Field

from trainer.spec.part import Part

Id = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
LabelName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
LabelValue = Annotated[str, Field(max_length=255)]
DatasetName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
SERVED_BY = {"name", "labels", "priority", "max_runtime", "max_attempts"}
"""What a service needs to know of a job, and what makes no difference to what comes of it."""


class Queued(Part):
    """How a job is found, when its turn comes, and how long it may run."""

    labels: dict[LabelName, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Your own keys and values, to find the job by."
    )
    priority: int = Field(
        default=0, ge=-100, le=100, description="Of queued jobs, those of the highest priority are taken first."
    )
    max_runtime: float | None = Field(
        default=None,
        ge=1,
        le=31_536_000,
        description="Seconds that all attempts together may run before the job fails; left out: any.",
    )
    max_attempts: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Attempts before a failure of the machinery is final; left out: as the server is set.",
    )


def sha256_of(spec: Part) -> str:
    """Hash of all of a spec that determines what comes of it.

    Without defaults: a field that a later version adds changes no hash of the specs that leave it out.
    """
    document = spec.model_dump(mode="json", exclude=SERVED_BY, exclude_defaults=True)
    return sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
