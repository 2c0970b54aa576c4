"""What a deployment sets, from the environment (`ANNEALER_…`)."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where the database and the broker are, and the limits of the API. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="ANNEALER_", frozen=True)

    database_url: SecretStr = Field(description="`postgresql+psycopg://…` or `sqlite:////path`.")
    broker_url: SecretStr = Field(description="`redis://…`, of a Redis or Valkey server.")
    keys: Literal["required", "off"] = Field(
        default="required", description="Whether requests need a key; `off` is for this machine alone."
    )
    max_body_bytes: int = Field(default=1024 * 1024, ge=1024, description="Largest request body.")
    max_attempts: int = Field(default=5, ge=1, description="Attempts at a job before its failure is final.")
    max_queued: int = Field(default=10_000, ge=1, description="Jobs that may wait; more are refused for a while.")
    requests_per_minute: int | None = Field(
        default=None,
        ge=1,
        description="Requests of one key, or else one address, in any minute; by default as many as it likes.",
    )
    watch_seconds: float = Field(
        default=0.04,
        gt=0,
        description="How often the versions of watched jobs are read, once for all clients.",
    )
