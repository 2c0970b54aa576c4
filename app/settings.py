"""What a deployment sets, from the environment (`ANNEALER_…`)."""

import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.store import objects
from app.store.retention import UPLOADS_SECONDS, Leftover, Limit, Limits

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

S = TypeVar("S", bound=BaseSettings)

SCRATCH = Path(tempfile.gettempdir()) / f"annealer-{os.getuid()}"
"""Where a worker keeps files on their way into the database unless it is told otherwise."""
DATASETS = SCRATCH.with_name(f"{SCRATCH.name}-datasets")
"""Where the workers of a machine keep data sets that they have fetched."""

MIB, GIB = 1024**2, 1024**3


class SettingsInvalid(Exception):
    """Which variables of the environment are wrong, and how. Their values are not told: some are secret."""


def load(kind: type[S]) -> S:
    """The settings of a kind, as the environment has them. Raises `SettingsInvalid`."""
    try:
        return kind()
    except ValidationError as error:
        prefix = kind.model_config.get("env_prefix", "")
        told = [f"{prefix}{str(mistake['loc'][0]).upper()} {_wrong(mistake)}." for mistake in error.errors()]
        raise SettingsInvalid(" ".join(told)) from None


def _wrong(mistake: "ErrorDetails") -> str:
    match mistake["type"]:
        case "missing":
            return "is not set"
        case "too_short":
            return f"should have at least {mistake['ctx']['min_length']} characters"
        case "value_error":
            return f"is wrong: {mistake['ctx']['error']}".rstrip(".")
    return mistake["msg"].removeprefix("Input ").removeprefix("String ")


def place_of(blobs: str) -> str | None:
    """Where new blobs go, as the store has it: None for the database. Raises `ValueError`."""
    return None if blobs == "sql" else objects.refuse_unless_place(blobs)


class Settings(BaseSettings):
    """Where the database and the broker are, and the limits of the API. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="ANNEALER_", frozen=True)

    database_url: SecretStr = Field(description="`postgresql+psycopg://…` or `sqlite:////path`.")
    broker_url: SecretStr = Field(description="`redis://…`, of a Redis or Valkey server.")
    blobs: Annotated[str | None, BeforeValidator(place_of)] = Field(
        default="sql",
        validate_default=True,
        description="Where new files go: `sql`, the database; `file:///folder`, which all machines share; or "
        "`s3://bucket/prefix`. What is stored already stays where it is until it is moved.",
    )
    keys: Literal["required", "off"] = Field(
        default="required", description="Whether requests need a key; `off` is for this machine alone."
    )
    metrics_token: SecretStr | None = Field(
        default=None, min_length=16, description="Opens `/metrics` as a key does, also while the database is away."
    )
    max_body_bytes: int = Field(default=1024 * 1024, ge=1024, description="Largest request body.")
    max_upload_bytes: int = Field(default=64 * GIB, ge=1, description="Largest file that may be uploaded.")
    max_uploads_bytes: int = Field(
        default=256 * GIB, ge=1, description="All uploads together that wait to be imported; more are refused."
    )
    max_direct_bytes: int = Field(
        default=64 * MIB, ge=1, description="Largest file that may come in one request with the wish to import it."
    )
    upload_part_bytes: int = Field(
        default=8 * MIB,
        ge=64 * 1024,
        le=GIB,
        description="Bytes of an upload's parts: what a broken connection costs at most.",
    )
    max_attempts: int = Field(default=5, ge=1, description="Attempts at a job before its failure is final.")
    max_queued: int = Field(default=10_000, ge=1, description="Jobs that may wait; more are refused for a while.")
    requests_per_minute: int | None = Field(
        default=None,
        ge=1,
        description="Requests of one key, or else one address, in any minute; by default as many as it likes.",
    )
    predict_body_bytes: int = Field(
        default=32 * 1024**2, ge=1024, description="Largest body of images to be predicted, and what it is decoded to."
    )
    predict_requests: int = Field(default=256, ge=1, description="Predictions that may wait; more are refused.")
    predict_held_bytes: int = Field(
        default=256 * 1024**2, ge=1024, description="Bodies of these together; more are refused."
    )
    predict_seconds: float = Field(
        default=15.0, gt=0, le=300, description="How long a prediction may wait for a worker's answer."
    )
    watch_seconds: float = Field(
        default=0.04,
        gt=0,
        description="How often the versions of watched jobs are read, once for all clients.",
    )


class LogSettings(BaseSettings):
    """How the service's own log looks."""

    model_config = SettingsConfigDict(env_prefix="ANNEALER_LOG_", frozen=True)

    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="`auto`: aligned text on a terminal, else JSON."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is written. Each request is an entry of level info."
    )


class KeepSettings(BaseSettings):
    """How long, and how much in all, of what jobs and clients leave behind is kept; `inf` is for ever."""

    model_config = SettingsConfigDict(env_prefix="ANNEALER_KEEP_", frozen=True)

    series_days: float = Field(default=math.inf, gt=0, description="Per-step series, after the end of their job.")
    series_bytes: int | None = Field(default=None, ge=0, description="Of all finished jobs; the oldest go first.")
    checkpoints_days: float = Field(
        default=30.0, gt=0, description="What a job that has not succeeded can be tried again from."
    )
    checkpoints_bytes: int | None = Field(default=None, ge=0, description="The same, of all finished jobs.")
    logs_days: float = Field(default=90.0, gt=0, description="What training processes wrote.")
    logs_bytes: int | None = Field(default=None, ge=0, description="The same, of all finished jobs.")
    uploads_hours: float = Field(
        default=UPLOADS_SECONDS / 3600,
        gt=0,
        le=87_600,
        description="Uploads that no import has read, after they were last used.",
    )

    @property
    def limits(self) -> Limits:
        """The same as the store has it."""
        return {
            Leftover.SERIES: _limit(self.series_days, self.series_bytes),
            Leftover.CHECKPOINTS: _limit(self.checkpoints_days, self.checkpoints_bytes),
            Leftover.LOGS: _limit(self.logs_days, self.logs_bytes),
        }

    @property
    def uploads_seconds(self) -> float:
        """How long an unused upload stays."""
        return self.uploads_hours * 3600


def _limit(days: float, bytes: int | None) -> Limit:
    return Limit(days * 86400 if math.isfinite(days) else None, bytes)
