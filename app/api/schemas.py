"""What the API answers with. The Python client reads the same models."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.store.scopes import Scope
from app.store.states import Action, FailureClass, Kind, Phase, Status, Wanted
from app.store.wishes import From
from trainer.events import EnsembleKind
from trainer.report import Report


class View(BaseModel):
    """Part of an answer."""

    model_config = ConfigDict(frozen=True)


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 in hexadecimal.")]
KeyName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$", description="For people.")]
OwnerName = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Who has it.")]
Base64 = Annotated[str, Field(min_length=1, json_schema_extra={"contentEncoding": "base64"})]
Share = Annotated[float, Field(ge=0, le=1)]


class ScoresView(View):
    """How well predictions fit the validation split."""

    accuracy: Share
    error: Share = Field(description="1 - accuracy.")
    negative_log_likelihood: float = Field(description="Mean, in nats.")


class EpochView(View):
    """One finished epoch."""

    epoch: int = Field(description="Counted from 1.")
    step: int = Field(description="Steps done over the whole training.")
    train_loss: float = Field(
        description="Mean cross-entropy of the epoch's batches, as they were trained on, in nats."
    )
    train_accuracy: Share = Field(description="Of the epoch's augmented batches, as they were trained on.")
    validation_loss: float = Field(description="Mean negative log-likelihood, in nats.")
    validation_accuracy: Share
    learning_rate: float = Field(description="Of the epoch's last step.")
    images_per_second: float = Field(description="While training, validation not counted.")
    seconds: float = Field(description="Training and validation.")


class ProgressView(View):
    """How far a job has come. What is no training has one epoch, whose steps are the pieces of its work."""

    epoch: int = Field(description="The epoch in hand, counted from 1; 0 before the first.")
    epochs: int
    step: int
    steps: int
    fraction: Share
    images_per_second: float | None = Field(description="Since the last report.")
    expected_end: datetime | None = Field(description="If it goes on at this speed; null unless training.")


class ErrorView(View):
    """Why a job failed."""

    failure_class: FailureClass = Field(alias="class", description="Whose failure it is.")
    code: str
    message: str
    detail: dict[str, Any]
    hint: str | None

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class LinksView(View):
    """Where the rest of a job is."""

    self_: str = Field(alias="self")
    events: str
    logs: str
    metrics: str
    layers: str
    snapshots: str
    ensemble: str
    files: str

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class JobView(View):
    """A job as it is now. `version` rises with every change and is the `ETag`."""

    id: str
    kind: Kind = Field(description="What it does: all kinds wait, run, fail and are tried again alike.")
    name: str
    labels: dict[str, str]
    dataset: str | None = Field(description="Null where the job is to make one.")
    owner: str = Field(description="Owners take turns.")
    priority: int = Field(description="The highest is taken first. As the spec has it, unless it was changed since.")
    spec: dict[str, Any] = Field(description="The resolved spec of its kind: all defaults filled in.")
    spec_sha256: Sha256
    status: Status
    phase: Phase | None = Field(description="The step inside running.")
    wanted: Wanted = Field(description="What the user wants; the worker follows.")
    version: int
    attempt: int = Field(description="Attempts made so far.")
    max_attempts: int = Field(description="Failures of the machinery before one is final, since the last retry.")
    max_runtime: float | None = Field(description="Seconds that attempts since the last retry may run; null for any.")
    progress: ProgressView
    latest: EpochView | None = Field(description="The newest finished epoch.")
    queue_position: int | None = Field(description="While queued: 1 for the next. Between owners, an estimate.")
    error: ErrorView | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: LinksView


class RetryRequest(View):
    """How to try a job again."""

    from_: From = Field(
        default="checkpoint",
        alias="from",
        description="Go on from the last checkpoint, or train from the `start`. What was reported after is removed.",
    )

    model_config = ConfigDict(frozen=True, extra="forbid")


class JobChange(View):
    """What is to be different about a job."""

    priority: Annotated[int, Field(ge=-100, le=100, description="The highest is taken first.")]

    model_config = ConfigDict(frozen=True, extra="forbid")


class JobList(View):
    """A page of jobs."""

    items: list[JobView]
    next_cursor: str | None = Field(description="For the next page; null on the last.")


class JobSummaryView(View):
    """A job as a line of a list. What is not said here is as in a job's full view."""

    id: str
    kind: Kind
    name: str
    labels: dict[str, str]
    dataset: str | None
    owner: str
    priority: int
    status: Status
    phase: Phase | None
    wanted: Wanted
    version: int
    progress: ProgressView
    validation_accuracy: Share | None = Field(description="Of the newest finished epoch.")
    validation_accuracies: list[Share] = Field(
        description="Of at most some forty epochs at equal distances and of the newest one, to draw a small curve of."
    )
    queue_position: int | None
    error: ErrorView | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobSummaryList(View):
    """A page of jobs, a line each."""

    items: list[JobSummaryView]
    next_cursor: str | None = Field(description="For the next page; null on the last.")


class EventView(View):
    """Something that happened to a job."""

    number: int = Field(description="Counted from 1 within the job.")
    attempt: int | None
    kind: str
    message: str
    data: dict[str, Any]
    created_at: datetime


class EventList(View):
    """A stretch of a job's history."""

    items: list[EventView]
    next_after: int | None = Field(description="Give this as `after` for more; null when that is all for now.")


class LogChunkView(View):
    """What one attempt's training process wrote, in one piece."""

    attempt: int
    offset: int = Field(description="Of its first byte, counted over all attempts.")
    next_offset: int = Field(description="Of the byte after its last.")
    text: str = Field(description="Bytes that are no UTF-8 are shown as U+FFFD.")
    written_at: datetime = Field(description="When the last of it was stored.")


class LogView(View):
    """A stretch of a job's output."""

    items: list[LogChunkView]
    next_offset: int = Field(description="Give this as `offset` for what follows.")
    first_offset: int = Field(description="The first byte that is kept; what stood before it was cut as too much.")
    complete: bool = Field(description="Whether the job is final and nothing follows.")


class SeriesView(View):
    """Points of a per-step series."""

    steps: list[int]
    values: list[float]
    count: int = Field(description="Points in the range asked for, before downsampling.")


class MetricsView(View):
    """What a training has measured so far."""

    epochs: list[EpochView]
    series: dict[str, SeriesView]


class DistributionView(View):
    """Values of one tensor on one batch; null where a figure is not finite."""

    mean: float | None
    std: float | None
    histogram: list[int] = Field(description="Counts between `histogram_edges`; the outer two have one edge.")


class LayerStatisticsView(View):
    """What stood in a layer after an epoch."""

    epoch: int = Field(description="0 at initialisation.")
    step: int
    index: int = Field(description="In the layer table, from 0.")
    name: str
    kind: str
    activations: DistributionView = Field(description="What the layer put out.")
    gradients: DistributionView = Field(description="Of the loss, by what the layer put out.")
    dead: Share | None = Field(description="Units of a ReLU that put out zero for every image.")
    saturated: Share | None = Field(description="Outputs of tanh or sigmoid within 1% of a bound.")
    symmetric: bool | None = Field(description="Whether all units have the same weights.")
    weight_norm: float | None
    weight_gradient_norm: float | None
    update_ratio: float | None = Field(description="Norm of the epoch's last update over the norm of the weights.")


class LayerStatisticsList(View):
    """In the order of epochs, then of the network."""

    items: list[LayerStatisticsView]
    histogram_edges: list[float]


class SnapshotView(View):
    """A model worth keeping. Its weights are a safetensors file."""

    id: str
    job_id: str
    number: int = Field(description="Counted from 1 within the job.")
    epoch: int
    step: int
    sha256: Sha256
    size: int = Field(description="Bytes of the file.")
    scores: ScoresView
    provenance: dict[str, Any] = Field(description="Where it comes from; the file's header says the same.")
    created_at: datetime
    weights: str = Field(description="Where to download the file.")


class SnapshotList(View):
    """A job's snapshots, oldest first."""

    items: list[SnapshotView]


class CombinedScoresView(View):
    """How well an ensemble predicts."""

    accuracy: Share
    error: Share = Field(description="1 - accuracy.")
    negative_log_likelihood: float | None = Field(description="Mean, in nats; null of a majority vote.")


class MemberView(View):
    """A snapshot in an ensemble."""

    snapshot_id: str
    job_id: str
    number: int
    epoch: int
    weight: float | None = Field(description="Its share in the average; null while it is still to be found out.")
    scores: ScoresView = Field(description="When it stands alone.")


class VoteScoresView(View):
    """How often most members' votes go to the right class; votes have no likelihood."""

    accuracy: Share
    error: Share = Field(description="1 - accuracy.")


class FileView(View):
    """A file that a job was asked for."""

    name: str
    media_type: str
    size: int = Field(description="In bytes.")
    sha256: Sha256
    url: str = Field(description="Where its bytes are.")


class FileList(View):
    """The files of a job, by name."""

    items: list[FileView]


class EnsembleLinksView(View):
    """Where an ensemble and its job are."""

    self_: str = Field(alias="self")
    job: str

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class EnsembleView(View):
    """Combined predictions of several snapshots, or one model of averaged weights, beside a single model.

    A training's stands beside its last model, on the validation split. One that was made by request, `combined`, is
    scored by a job of its own, on the split that was named, beside its best member; until then there are no scores.
    """

    id: str
    job_id: str = Field(description="The training that made it, or the job that scores it.")
    name: str = Field(description="That of its job.")
    owner: str
    status: Status = Field(description="That of its job.")
    kind: EnsembleKind | Literal["combined"] = Field(description="As in a training's spec, or made by request.")
    spec: dict[str, Any] | None = Field(
        description="What was asked for, all defaults filled in and the snapshots named; null of a training's."
    )
    averaged: int | None = Field(
        description="What the weights are the average of: epochs of swa, steps of ema; null where predictions are."
    )
    scores: CombinedScoresView | None = Field(description="Of the ensemble, or of the model of averaged weights.")
    single: ScoresView | None = Field(description="The last model, or the best member, alone.")
    geometric_mean: ScoresView | None = Field(
        description="Of the members' geometric mean, to compare; null in ensembles that were scored without it."
    )
    majority_vote: VoteScoresView | None = Field(
        description="Of a vote, to compare, where ties go to the largest sum of probabilities; null as before."
    )
    members: list[MemberView] = Field(description="Until it is scored, all snapshots that it is chosen from.")
    report: Report | None = Field(description="All that scoring has found; null in lists and of a training's.")
    created_at: datetime
    links: EnsembleLinksView


class EnsembleList(View):
    """A page of ensembles, the newest first."""

    items: list[EnsembleView]
    next_cursor: str | None = Field(description="For the next page; null on the last.")


class LikelyView(View):
    """A class and how likely it is."""

    label: str
    probability: float


class MemberPredictionView(View):
    """What one member says of an image, alone."""

    snapshot_id: str
    label: str
    probabilities: list[float] = Field(description="Of each class, in the order of `classes`.")


class PredictionView(View):
    """What is predicted for one image."""

    index: int = Field(description="The image's place in the request, counted from 0.")
    label: str = Field(description="The predicted class.")
    probabilities: list[float] | None = Field(
        description="Of each class, in the order of `classes`; null of a majority vote, which has none."
    )
    top: list[LikelyView] = Field(description="The likeliest classes, as many as were asked for; none of a vote.")
    disagreement: float | None = Field(
        description="Share of pairs of members that see another class in the image; 0 of one member. "
        "Null unless members were asked for."
    )
    members: list[MemberPredictionView] | None = Field(description="Null unless they were asked for.")


class PredictionsView(View):
    """What a snapshot or an ensemble predicts."""

    id: str = Field(description="Of the snapshot or the ensemble.")
    classes: list[str]
    items: list[PredictionView] = Field(description="One for each image, in the order of the request.")


class PredictRequest(View):
    """Images to be predicted, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: list[Base64] = Field(min_length=1, description="Image files, PNG or JPEG for example, in base64.")


class ComparedJobView(View):
    """One of several trainings."""

    id: str
    name: str
    status: Status
    seed: int
    last: EpochView | None = Field(description="The newest finished epoch.")
    best: EpochView | None = Field(description="The epoch with the lowest validation loss.")
    seconds: float = Field(description="Of all epochs together.")
    ensemble: CombinedScoresView | None


class DifferenceView(View):
    """A value that is not the same in all specs."""

    pointer: str = Field(description="JSON Pointer into the resolved specs.")
    values: list[Any] = Field(description="One for each job; null where a spec has no such key.")


class ComparedSeriesView(View):
    """Figures by epoch, a list for each job; null where a job has not come so far."""

    epochs: list[int]
    train_loss: list[list[float | None]]
    train_accuracy: list[list[float | None]]
    validation_loss: list[list[float | None]]
    validation_accuracy: list[list[float | None]]
    learning_rate: list[list[float | None]]


class MeanIntervalView(View):
    """A figure over trainings that differ only in their seed."""

    count: int
    mean: float
    std: float = Field(description="Of the trainings, not of the mean.")
    low: float = Field(description="The mean's 95% interval, by Student's t.")
    high: float


class RepetitionView(View):
    """Trainings that differ only in their seed."""

    jobs: list[str]
    seeds: list[int]
    figures: dict[str, MeanIntervalView] = Field(
        description="Of the last epoch, and of ensembles: each figure that two of them have."
    )


class CompareView(View):
    """Trainings side by side, in the order of the request."""

    jobs: list[ComparedJobView]
    differences: list[DifferenceView] = Field(description="Names, labels, priorities and limits left out.")
    series: ComparedSeriesView
    repetitions: list[RepetitionView]


class PlaceView(View):
    """A place in a request where something is wrong: one of `pointer`, `parameter`, `header` and `entry`."""

    pointer: str | None = Field(default=None, description="JSON Pointer into the body (RFC 6901).")
    parameter: str | None = None
    header: str | None = None
    entry: str | None = Field(default=None, description="A file in what was uploaded, by its path.")
    code: str
    detail: str
    line: int | None = Field(default=None, description="In a spec that was sent as YAML, counted from 1.")


class ProblemView(View):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = Field(default=None, description="The address; absent where none could be read.")
    request_id: str | None
    errors: list[PlaceView] = []
    from_: str | None = Field(default=None, alias="from", description="409: the job's status.")
    to: str | None = Field(default=None, description="409: the status that it cannot take.")
    allowed: list[Action] | None = Field(default=None, description="409: what may be asked of the job instead.")
    needed_by: list[str] | None = Field(default=None, description="409: what needs that which was to go.")

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class DatasetLinksView(View):
    """Where the rest of a data set is."""

    self_: str = Field(alias="self")
    sample: str | None = Field(description="A picture of some images of each class; null until it is ready.")
    job: str | None = Field(description="The import that makes it or has made it.")

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class DatasetView(View):
    """A data set. What is known of its content is null until it is ready."""

    id: str | None = Field(description="Made of the hash of its content: the same data has the same id.")
    name: str = Field(description="What specs name it by; its id will do too.")
    owner: str | None = Field(description="Null of those that come with Annealer, which are everybody's.")
    status: Literal["importing", "ready", "failed"] = Field(description="A data set that is ready never changes.")
    sha256: Sha256 | None
    shape: tuple[int, int, int] | None = Field(description="Channels, height, width.")
    classes: list[str] = Field(description="Names in the order of their numbers; empty until it is ready.")
    train_count: int | None
    validation_count: int | None
    size: int = Field(description="Bytes of its files; 0 of those that come with Annealer.")
    error: ProblemView | None = Field(description="Why its import has failed, file by file.")
    created_at: datetime
    ready_at: datetime | None
    links: DatasetLinksView


class SplitView(View):
    """One split."""

    count: int = Field(description="Images.")
    per_class: list[int] = Field(description="Images of each class, in the order of `classes`.")


class SplitsView(View):
    """The splits that there are."""

    train: SplitView
    validation: SplitView
    test: SplitView | None


class NoteView(View):
    """Something strange that did not stop the import."""

    code: str
    detail: str
    entries: list[str] = Field(description="The first files or classes that it is about.")
    count: int = Field(description="How many it is about.")


class OriginView(View):
    """How a data set was made."""

    source: str = Field(description="The name of the file.")
    container: str
    format: str
    options: dict[str, Any]
    versions: dict[str, str] = Field(description="Of the libraries that decoded and resized.")


class DatasetDetailView(DatasetView):
    """A data set with all that is known of it."""

    splits: SplitsView | None
    mean: list[float] | None = Field(description="Of each channel over the training split, pixels from 0 to 255.")
    std: list[float] | None = Field(description="Of each channel over the training split, pixels from 0 to 255.")
    origin: OriginView | None
    warnings: list[NoteView] = Field(description="Such as imbalance, duplicates across splits, and files left out.")


class DatasetList(View):
    """A page of data sets, by name."""

    items: list[DatasetView]
    next_cursor: str | None = Field(description="For the next page; null on the last.")


class UploadRequest(View):
    """The file that is to be uploaded."""

    name: Annotated[
        str,
        Field(
            min_length=1, max_length=200, pattern=r"^[^/\\\x00-\x1f\x7f]+$", description="Its name, without folders."
        ),
    ]
    size: Annotated[int, Field(ge=1, description="Its bytes.")]
    sha256: Sha256

    model_config = ConfigDict(frozen=True, extra="forbid")


class UploadView(View):
    """A file on its way in. It is whole when no part is missing."""

    id: str
    name: str
    owner: str
    size: int = Field(description="Bytes of the whole file.")
    sha256: Sha256
    part_bytes: int = Field(description="Bytes of each part but the last.")
    parts: int = Field(description="How many parts it has, numbered from 1.")
    missing: list[int] = Field(description="The numbers of those that have not arrived.")
    received: int = Field(description="Bytes that have arrived.")
    created_at: datetime
    used_at: datetime = Field(description="It is removed when it has not been used for long after.")


class UploadList(View):
    """Uploads, the oldest first."""

    items: list[UploadView]


class PartView(View):
    """A part that has arrived."""

    number: int
    size: int
    sha256: Sha256


class CardDataView(View):
    """Data that a model was trained or scored on."""

    name: str
    id: str | None = Field(description="Null where it was deleted since.")
    licence: str = Field(description="As it was stated at its import, or where it is published; else `not stated`.")
    splits: SplitsView | None
    warnings: list[str]


class CardTrainingView(View):
    """A training whose snapshots are members."""

    job_id: str
    name: str
    dataset: str
    spec: dict[str, Any] = Field(description="The resolved spec: all defaults filled in.")
    epochs: int
    seconds: float = Field(description="Of all epochs together.")
    snapshots: list[int] = Field(description="Numbers of those that are members.")


class CardView(View):
    """A model card: what an ensemble is made of, how good it is, and where that ends."""

    id: str
    name: str
    kind: EnsembleKind | Literal["combined"]
    created_at: datetime
    input_shape: tuple[int, int, int] = Field(description="Channels, height, width.")
    classes: list[str]
    members: list[MemberView]
    combine: str
    data: list[CardDataView]
    trainings: list[CardTrainingView]
    scored_on: str = Field(description="The split.")
    scores: CombinedScoresView
    single: ScoresView | None = Field(description="The last model, or the best member, alone.")
    report: Report | None = Field(description="All that scoring has found; null of a training's.")
    limits: list[str] = Field(description="What follows from the figures, and what nobody has tried.")
    versions: dict[str, Any] = Field(description="What the first member was trained with.")
    loading: str = Field(description="Python that asks it.")


class OfferView(View):
    """What there is for one job."""

    devices: int = Field(description="Together, when nothing else runs.")
    precisions: list[str] = Field(description="What they compute in, as in `execution.precision` of a spec.")


class RunningView(View):
    """A job that a worker runs."""

    job_id: str
    name: str
    attempt: int
    phase: Phase | None
    fraction: Share
    started_at: datetime = Field(description="When this attempt began.")


class MemoryUseView(View):
    """Memory of a device, in bytes."""

    used: int = Field(description="By whomever.")
    total: int


class WorkerView(View):
    """A worker process that has been seen lately."""

    id: str
    host: str
    pid: int
    device: str
    slots: int
    version: str
    offers: dict[str, OfferView] = Field(description="What a job can have here, by the `device` that its spec says.")
    alive: bool = Field(description="Whether its heartbeat is fresh.")
    drained: bool = Field(description="Whether it is to take no jobs, and to hand back those that it runs.")
    memory: dict[str, MemoryUseView] = Field(description="By device: `cpu` is the host, `gpu0` its first GPU.")
    running: int = Field(description="Jobs that it runs now, of all owners.")
    jobs: list[RunningView] = Field(description="Those of them that the key sees, the oldest first.")
    started_at: datetime
    heartbeat_at: datetime


class WorkerList(View):
    """Workers, the oldest first."""

    items: list[WorkerView]
    waiting: dict[str, int] = Field(description="Jobs that wait, of all owners, by the `device` that they ask for.")


class LayerView(View):
    """A line of the layer table."""

    index: int
    name: str
    kind: str
    input_shape: list[int]
    output_shape: list[int]
    weight_shape: list[int] = Field(
        description="Whose product `weights` is. Of a convolution: filters, channels, height and width of the kernel; "
        "empty without weights."
    )
    weights: int
    biases: int
    multiply_adds: int = Field(description="For one image, forward.")
    activations: int = Field(
        description="Values of one image that training keeps until the backward pass, each where it is first needed: "
        "what a weighted layer is given, what a nonlinearity gives."
    )


class MemoryView(View):
    """Bytes on the device in the midst of a training step, estimated: the data set and work space come on top."""

    weights: int = Field(description="With their running average, where there is one.")
    gradients: int
    optimizer: int = Field(description="What the optimizer keeps between steps.")
    activations: int = Field(description="What a full batch keeps until the backward pass.")


class PointView(View):
    """The learning rate at a moment."""

    epoch: float = Field(description="Epochs since the start, in fractions.")
    rate: float


class WarningView(View):
    """Something that will run, but hardly as wished."""

    pointer: str
    code: str
    detail: str
    line: int | None = Field(default=None, description="In a spec that was sent as YAML, counted from 1.")


class PlanView(View):
    """What a spec would do."""

    spec: dict[str, Any] = Field(description="The resolved spec: all defaults filled in.")
    layers: list[LayerView]
    parameters: int
    multiply_adds: int = Field(description="For one image, forward.")
    step_multiply_adds: int = Field(
        description="Of a whole batch, forward and back, about: three times its forward pass."
    )
    activations: int = Field(description="Values of one image that training keeps until the backward pass.")
    memory_bytes: MemoryView
    steps_per_epoch: int
    steps: int
    learning_rates: list[float] = Field(
        description="At each epoch boundary, the start of the first included; of `plateau` without reductions. Of "
        "independent members, those of each."
    )
    curve: list[PointView] = Field(
        description="The learning rate as a line through some 200 points: evenly spaced ones, the end of the warm-up, "
        "peaks, and both sides of each jump, such as the end of a cycle. The same trainings as `learning_rates`."
    )
    warmup_epochs: float = Field(description="Length of the warm-up that each training begins with; 0 without.")
    snapshot_epochs: list[int] = Field(description="A snapshot is taken at the end of each. Counted through.")
    warnings: list[WarningView]


class KeyView(View):
    """Who may come in, as whom. The key itself is not to be had again."""

    id: str
    name: str
    owner: str = Field(description="Whose jobs are submitted and seen with it; a key of scope admin sees all.")
    scope: Scope
    prefix: str = Field(description="Its text begins with `ann_`, this and `_`.")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")


class NewKeyView(KeyView):
    """A new key with its text, which is shown this once."""

    key: str = Field(description="Send it as `Authorization: Bearer ann_…`.")


class KeyList(View):
    """Keys, those that open nothing any more included."""

    items: list[KeyView]


class KeyRequest(View):
    """The key to make."""

    name: KeyName
    owner: OwnerName
    scope: Scope
    expires_days: Annotated[float, Field(gt=0, le=36500)] | None = Field(
        default=None, description="Days that it opens anything; for ever when left out."
    )

    model_config = ConfigDict(frozen=True, extra="forbid")


class HealthView(View):
    """The process lives."""

    status: Literal["ok"]


DatabaseState = Literal["ok", "unreachable", "wrong version"]


class ReadinessView(View):
    """Whether requests can be served. The broker is told of, but nothing is lost without it."""

    ready: bool
    database: DatabaseState
    broker: Literal["ok", "unreachable"]
    detail: str | None = Field(description="What is missing, and what to do about it.")
