"""What an operator sets for a worker, from the environment (`ANNEALER_WORKER_…`)."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.settings import DATASETS, GIB, MIB, SCRATCH
from app.store.logs import FEWEST_BYTES


class WorkerSettings(BaseSettings):
    """How many jobs at once, on what, and how patient. Times in seconds."""

    model_config = SettingsConfigDict(env_prefix="ANNEALER_WORKER_", frozen=True)

    slots: int = Field(default=1, ge=1, le=64, description="Jobs trained at the same time.")
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="CPU threads of each training; by default the cores / slots."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="`auto`: GPUs where there are any.")
    resident_bytes: int | None = Field(
        default=None,
        ge=0,
        description="Images that a training may put on each device; it streams others from the host, with the same "
        "result. By default what its memory leaves. Bytes.",
    )
    scratch: Path = Field(
        default=SCRATCH,
        description="Folder for files on their way into the database; emptied as jobs end.",
    )
    lease_seconds: float = Field(
        default=10.0, gt=0, description="How long a job belongs to a worker that has stopped renewing."
    )
    beat_seconds: float = Field(
        default=0.5, gt=0, description="How often the lease is renewed and the user's wish is read."
    )
    log_bytes: int = Field(
        default=1024 * 1024, ge=FEWEST_BYTES, description="What is kept of a job's output, the newest bytes of it."
    )
    report_seconds: float = Field(default=0.25, gt=0, description="How often progress is stored.")
    sweep_seconds: float = Field(default=2.0, gt=0, description="How often lost jobs are looked for.")
    checkpoint_seconds: float = Field(
        default=60.0, gt=0, description="Time between checkpoints inside an epoch; each epoch ends with one."
    )
    store_patience_seconds: float = Field(
        default=600.0, gt=0, description="How long a training goes on while the database is away."
    )
    spool_bytes: int = Field(
        default=1024**3,
        ge=1024,
        description="How much of each training may wait for the database; it is held up when that is reached. Bytes.",
    )
    silence_seconds: float = Field(
        default=900.0, gt=0, description="How long a training may report nothing before it is taken to hang."
    )
    grace_seconds: float = Field(
        default=15.0,
        gt=0,
        description="How long a worker may take to stop; its trainings get two thirds of it for a checkpoint.",
    )

    datasets: Path = Field(
        default=DATASETS,
        description="Folder for data sets that were fetched from the database; the workers of a machine may share it.",
    )
    datasets_bytes: int = Field(
        default=20 * GIB,
        ge=0,
        description="What is kept there of data sets that no job of this machine uses now; the least recently used go.",
    )
    datasets_mirror: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Where data sets by name are looked for first: in `mnist/`, `cifar10/` and so on below it.",
    )
    import_memory_bytes: int = Field(
        default=4 * GIB, ge=256 * MIB, description="What the process of an import may take of memory."
    )
    import_bytes: int = Field(
        default=64 * GIB, ge=MIB, description="What an import may unpack to, and the most that it may pack."
    )
    import_seconds: float = Field(
        default=86_400.0,
        gt=0,
        description="How long one attempt at an import may take, by the clock and of processors.",
    )

    metrics_port: int | None = Field(
        default=None, ge=1, le=65535, description="Where Prometheus reads `/metrics`; nowhere by default."
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="The address of that port; another than loopback needs `metrics_token`."
    )
    metrics_token: SecretStr | None = Field(
        default=None, min_length=16, description="What Prometheus sends as `Authorization: Bearer …`."
    )

    @property
    def checkpoint_grace_seconds(self) -> float:
        """How long a training that is to stop may take to make its last checkpoint."""
        return self.grace_seconds * 2 / 3

    @property
    def threads_per_job(self) -> int:
        """CPU threads of one training: fixed, because sums in another order are other sums."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) // self.slots)


class PredictionSettings(BaseSettings):
    """What an operator sets for a prediction worker (`ANNEALER_PREDICTION_…`). Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="ANNEALER_PREDICTION_", frozen=True)

    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="`auto`: a GPU where there is one.")
    threads: int = Field(
        default=1, ge=1, le=1024, description="CPU threads; few by default, since trainings want the others."
    )
    models_bytes: int = Field(
        default=2 * 1024**3, ge=0, description="Networks kept in memory; beyond it the least recently used go."
    )
    scratch: Path = Field(default=SCRATCH, description="Folder for files on their way into memory.")
