"""The tables. What the database can hold as a rule, it holds: CHECKs, foreign keys, partial unique indexes."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Enum,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.store.clock import Timestamp, now
from app.store.scopes import Scope
from app.store.states import FINAL, FailureClass, Kind, Outcome, Phase, Status, Wanted

Json = dict[str, Any]


def word(kind: type[StrEnum]) -> Enum:
    """A column of an enum's values, as text; the CHECK of `one_of` holds it to them."""
    return Enum(
        kind,
        native_enum=False,
        create_constraint=False,
        length=20,
        values_callable=lambda members: [member.value for member in members],
    )


def one_of(column: str, values: Iterable[str], *, optional: bool = False) -> str:
    """SQL condition that `column` holds one of an enum's values (or NULL where `optional`)."""
    words = ", ".join(f"'{value}'" for value in values)
    condition = f"{column} IN ({words})"
    return f"{column} IS NULL OR {condition}" if optional else condition


FINAL_WORDS = ", ".join(f"'{status}'" for status in sorted(FINAL))


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can name it too, on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        Json: JSON,
        datetime: Timestamp,
        list[str]: JSON,
        list[int]: JSON,
        dict[str, str]: JSON,
        dict[str, list[int]]: JSON,
        dict[str, list[str]]: JSON,
    }


class Dataset(Base):
    """A data set by its name, everybody's where it has no owner. Until its import has succeeded it is only a name.

    `sha256` is over shapes, bytes and class names, `manifest` a `trainer.datasets.manifest.Manifest`, `size` the bytes
    of its files. `request_sha256` stands for what it was asked to be made of, and how. Jobs of kind import that
    refer to it make it, all others need it.
    """

    __tablename__ = "datasets"
    __table_args__ = (
        CheckConstraint(
            "ready_at IS NULL OR (sha256 IS NOT NULL AND channels IS NOT NULL AND height IS NOT NULL AND width IS NOT "
            "NULL AND classes IS NOT NULL AND train_count IS NOT NULL AND validation_count IS NOT NULL)",
            name="known_when_ready",
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    owner: Mapped[str | None]
    request_sha256: Mapped[str | None] = mapped_column(String(64))
    sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    channels: Mapped[int | None]
    height: Mapped[int | None]
    width: Mapped[int | None]
    classes: Mapped[list[str] | None]
    train_count: Mapped[int | None]
    validation_count: Mapped[int | None]
    size: Mapped[int] = mapped_column(BigInteger, server_default="0")
    manifest: Mapped[Json | None] = mapped_column(deferred=True)
    ready_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class DatasetFile(Base):
    """A file of a data set's pack, in a blob."""

    __tablename__ = "dataset_files"

    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    size: Mapped[int] = mapped_column(BigInteger)


class Upload(Base):
    """A file on its way in, by the hash and size that its client has announced, in parts of `part_bytes` bytes.

    `job_id` is the import that reads it; it is gone once that has succeeded, or when nobody has used it for long.
    """

    __tablename__ = "uploads"
    __table_args__ = (UniqueConstraint("owner", "sha256", "size"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    part_bytes: Mapped[int]
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    used_at: Mapped[datetime] = mapped_column(server_default=now())


class UploadPart(Base):
    """A part of an upload that has arrived, numbered from 1; all but the last have the upload's `part_bytes`."""

    __tablename__ = "upload_parts"

    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    size: Mapped[int]


class Job(Base):
    """What was asked for, what it is now and how far it has come.

    `version` rises with every change that a reader can see; `attempt` is the fencing token; `event_count`
    numbers the job's events. Attempts before `first_attempt` do not count any more: the user had the job retried.
    `max_runtime` is in seconds. `spec` is a document of the job's `kind`; what is no training has one epoch, whose
    steps are the pieces of its work.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(one_of("kind", Kind), name="kind"),
        CheckConstraint(one_of("status", Status), name="status"),
        CheckConstraint(one_of("wanted", Wanted), name="wanted"),
        CheckConstraint(one_of("phase", Phase, optional=True), name="phase"),
        CheckConstraint(one_of("failure_class", FailureClass, optional=True), name="failure_class"),
        CheckConstraint("(status = 'running') = (phase IS NOT NULL)", name="phase_while_running"),
        CheckConstraint(f"(status IN ({FINAL_WORDS})) = (finished_at IS NOT NULL)", name="finished_at_when_final"),
        CheckConstraint("(status = 'failed') = (failure_class IS NOT NULL)", name="failure_when_failed"),
        Index(
            "ix_jobs_queue",
            "priority",
            "owner",
            "id",
            "device",
            "devices",
            "precision",
            postgresql_where=text("status = 'queued'"),
            sqlite_where=text("status = 'queued'"),
        ),
        Index("ix_jobs_status_id", "status", "id"),
        Index("ix_jobs_finished_at", "finished_at"),
        Index("ix_jobs_spec_sha256", "spec_sha256"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[Kind] = mapped_column(word(Kind), server_default=Kind.TRAINING)
    name: Mapped[str]
    labels: Mapped[dict[str, str]]
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id"), index=True)
    spec: Mapped[Json]
    spec_sha256: Mapped[str] = mapped_column(String(64))
    device: Mapped[str]
    devices: Mapped[int] = mapped_column(server_default="1")
    precision: Mapped[str] = mapped_column(server_default="float32")
    owner: Mapped[str] = mapped_column(server_default="default")
    priority: Mapped[int] = mapped_column(server_default="0")
    epochs: Mapped[int]
    steps_per_epoch: Mapped[int]

    status: Mapped[Status] = mapped_column(word(Status), default=Status.QUEUED)
    wanted: Mapped[Wanted] = mapped_column(word(Wanted), default=Wanted.RUN)
    phase: Mapped[Phase | None] = mapped_column(word(Phase))
    version: Mapped[int] = mapped_column(default=1)
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    max_runtime: Mapped[float | None]
    first_attempt: Mapped[int] = mapped_column(server_default="1")
    event_count: Mapped[int] = mapped_column(default=0)

    epoch: Mapped[int] = mapped_column(default=0)
    step: Mapped[int] = mapped_column(BigInteger, default=0)
    images_per_second: Mapped[float | None]

    failure_class: Mapped[FailureClass | None] = mapped_column(word(FailureClass))
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    failure_detail: Mapped[Json | None]
    failure_hint: Mapped[str | None]

    created_at: Mapped[datetime] = mapped_column(server_default=now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    rung_at: Mapped[datetime | None]


class Attempt(Base):
    """One worker's try at a job. Open while `outcome` is NULL; a job has at most one open attempt.

    `batch` is the last batch of reports that was stored, counted from 1.
    """

    __tablename__ = "attempts"
    __table_args__ = (
        CheckConstraint(one_of("outcome", Outcome, optional=True), name="outcome"),
        CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="ended_at_when_closed"),
        Index(
            "uq_attempts_open",
            "job_id",
            unique=True,
            postgresql_where=text("outcome IS NULL"),
            sqlite_where=text("outcome IS NULL"),
        ),
        Index("ix_attempts_ended_at", "ended_at"),
        Index(
            "ix_attempts_lease",
            "lease_expires_at",
            postgresql_where=text("outcome IS NULL"),
            sqlite_where=text("outcome IS NULL"),
        ),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    worker_id: Mapped[str]
    device: Mapped[str | None]
    first_step: Mapped[int] = mapped_column(BigInteger)
    batch: Mapped[int] = mapped_column(server_default="0")
    lease_expires_at: Mapped[datetime]
    outcome: Mapped[Outcome | None] = mapped_column(word(Outcome))
    failure_code: Mapped[str | None]
    failure_step: Mapped[int | None] = mapped_column(BigInteger)
    started_at: Mapped[datetime] = mapped_column(server_default=now())
    ended_at: Mapped[datetime | None]


class Event(Base):
    """A job's history, append-only, numbered from 1 within the job."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int | None]
    kind: Mapped[str]
    message: Mapped[str]
    data: Mapped[Json]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Epoch(Base):
    """One finished epoch: losses in nats, accuracies as shares, times in seconds."""

    __tablename__ = "epochs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger)
    train_loss: Mapped[float]
    train_accuracy: Mapped[float]
    validation_loss: Mapped[float]
    validation_accuracy: Mapped[float]
    learning_rate: Mapped[float]
    images_per_second: Mapped[float]
    seconds: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class LayerStats(Base):
    """A layer after an epoch, 0 at initialisation: what `trainer.events.LayerStatistics` says.

    Histograms are counts between `trainer.events.HISTOGRAM_EDGES`.
    """

    __tablename__ = "layer_stats"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str]
    kind: Mapped[str]
    activation_mean: Mapped[float | None]
    activation_std: Mapped[float | None]
    activation_histogram: Mapped[list[int]]
    gradient_mean: Mapped[float | None]
    gradient_std: Mapped[float | None]
    gradient_histogram: Mapped[list[int]]
    dead: Mapped[float | None]
    saturated: Mapped[float | None]
    symmetric: Mapped[bool | None]
    weight_norm: Mapped[float | None]
    weight_gradient_norm: Mapped[float | None]
    update_ratio: Mapped[float | None]


class SeriesBlock(Base):
    """Consecutive points of a per-step series: `points` is little-endian float64, all steps, then all values."""

    __tablename__ = "series_blocks"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    first_step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    last_step: Mapped[int] = mapped_column(BigInteger)
    count: Mapped[int]
    minimum: Mapped[float]
    maximum: Mapped[float]
    points: Mapped[bytes] = mapped_column(LargeBinary)


class LogChunk(Base):
    """Part of what a job's training processes wrote: `size` bytes from byte `start` of all that they ever wrote."""

    __tablename__ = "log_chunks"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    size: Mapped[int]
    attempt: Mapped[int]
    data: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Blob(Base):
    """Content by its sha256. Complete once `stored_at` is set; `used_at` keeps it from early collection.

    It is in chunks here where `address` is null, else an object there.
    """

    __tablename__ = "blobs"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    address: Mapped[str | None]
    stored_at: Mapped[datetime | None]
    used_at: Mapped[datetime] = mapped_column(server_default=now())


class StrayObject(Base):
    """The address of an object outside the database that no blob has: not yet, or not any more."""

    __tablename__ = "stray_objects"

    address: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(server_default=now(), index=True)


class BlobChunk(Base):
    """A piece of a blob; all but the last are `blobs.CHUNK_BYTES` long."""

    __tablename__ = "blob_chunks"

    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Snapshot(Base):
    """A model worth keeping, as safetensors in a blob; scores are on the validation split."""

    __tablename__ = "snapshots"
    __table_args__ = (UniqueConstraint("job_id", "number"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    number: Mapped[int]
    epoch: Mapped[int]
    step: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    accuracy: Mapped[float]
    error: Mapped[float]
    negative_log_likelihood: Mapped[float]
    provenance: Mapped[Json]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Checkpoint(Base):
    """Where a job can go on from: the newest and the one before, of a failed or cancelled job the newest."""

    __tablename__ = "checkpoints"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    epoch: Mapped[int]
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Ensemble(Base):
    """Combined predictions of snapshots, or averaged weights, beside a single model, as its job has scored them.

    That job is a training, whose last model stands beside it, or a scoring: then scores are null until it has come so
    far, the best member stands beside it, and `report` has the rest of what it found. `averaged` counts the weights of
    `swa` and `ema`. What other combinations score is null where it was not asked yet.
    """

    __tablename__ = "ensembles"

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), unique=True)
    accuracy: Mapped[float | None]
    error: Mapped[float | None]
    negative_log_likelihood: Mapped[float | None]
    single_accuracy: Mapped[float | None]
    single_error: Mapped[float | None]
    single_negative_log_likelihood: Mapped[float | None]
    kind: Mapped[str] = mapped_column(server_default="snapshots")
    averaged: Mapped[int | None] = mapped_column(BigInteger)
    geometric_mean_accuracy: Mapped[float | None]
    geometric_mean_error: Mapped[float | None]
    geometric_mean_negative_log_likelihood: Mapped[float | None]
    majority_vote_accuracy: Mapped[float | None]
    majority_vote_error: Mapped[float | None]
    report: Mapped[Json | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class EnsembleMember(Base):
    """A snapshot's share in an ensemble; null while it is still to be found out."""

    __tablename__ = "ensemble_members"

    ensemble_id: Mapped[str] = mapped_column(ForeignKey("ensembles.id", ondelete="CASCADE"), primary_key=True)
    snapshot_id: Mapped[str] = mapped_column(
        ForeignKey("snapshots.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    position: Mapped[int]
    weight: Mapped[float | None]


class JobSnapshot(Base):
    """A snapshot that a job predicts with or exports, in the model's order."""

    __tablename__ = "job_snapshots"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    snapshot_id: Mapped[str] = mapped_column(ForeignKey("snapshots.id", ondelete="CASCADE"), index=True)


class JobFile(Base):
    """A file that a job was asked for, in a blob."""

    __tablename__ = "job_files"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    media_type: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)


class Worker(Base):
    """A worker process that has been seen; gone when its heartbeat is old.

    `devices` counts its GPUs, or the CPU cores that it may use; `precisions` are those that each kind of device that it
    trains on computes in, by the names of a spec. One that `is_drained` lives, lets its jobs go and takes none.
    `memory` has bytes used and bytes in all, by device: "cpu" for the host, "gpu0" and so on.
    """

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    device: Mapped[str]
    slots: Mapped[int]
    version: Mapped[str]
    offers: Mapped[Json] = mapped_column(server_default="{}")
    is_drained: Mapped[bool] = mapped_column(server_default=false())
    memory: Mapped[dict[str, list[int]]] = mapped_column(server_default="{}")
    started_at: Mapped[datetime] = mapped_column(server_default=now())
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=now())


class IdempotencyKey(Base):
    """What a client's key stands for: one request body, one job. Each owner has keys of its own."""

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class WebSession(Base):
    """A browser that somebody has signed in with a key: it ends with that key. Of its cookie only the hash is kept."""

    __tablename__ = "web_sessions"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    expires_at: Mapped[datetime] = mapped_column(index=True)


class ApiKey(Base):
    """Who may come in, as whom. `prefix` names the key in its text, of which only the `sha256` is kept."""

    __tablename__ = "api_keys"
    __table_args__ = (CheckConstraint(one_of("scope", Scope), name="scope"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    owner: Mapped[str]
    scope: Mapped[Scope] = mapped_column(word(Scope))
    prefix: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
