"""What the command line shows: tables, a live progress line, a learning-rate curve."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from app.api.schemas import (
    CombinedScoresView,
    CompareView,
    DatasetDetailView,
    DatasetView,
    EnsembleView,
    EpochView,
    EventView,
    FileView,
    JobView,
    KeyView,
    LayerStatisticsView,
    LayerView,
    PlanView,
    PointView,
    PredictionsView,
    ScoresView,
    SnapshotView,
    WorkerView,
)
from app.client import Client
from app.store.states import Status
from trainer.events import ensemble_title
from trainer.report import MemberReport

COLOURS = {
    Status.SUCCEEDED: "green",
    Status.FAILED: "red",
    Status.CANCELLED: "yellow",
    Status.RUNNING: "cyan",
    Status.PAUSED: "magenta",
}
DATASET_COLOURS = {"ready": "green", "importing": "cyan", "failed": "red"}
NUMBERS = {
    *(
        "epoch",
        "done",
        "members",
        "accuracy",
        "error",
        "weight",
        "bytes",
        "loss",
        "validation loss",
        "negative log-likelihood",
    ),
    *("mean", "std", "gradient std", "dead", "saturated", "gradient norm", "update / weight"),
    *("images/s", "seconds", "rate", "weights", "biases", "multiply-adds", "activations", "devices", "slots", "number"),
}
WIDTH_OF_FIGURES = 100
"""Of a progress line beside its bar."""
BLOCKS = " ▁▂▃▄▅▆▇█"
COLUMNS = 72
"""Of a learning-rate curve."""


def console() -> Console:
    """Where answers are shown. A pipe has no width: nothing is cut for it."""
    found = Console()
    return found if found.is_terminal else Console(width=200)


def follow(console: Console, client: Client, job_id: str) -> JobView:
    """Show a job until it is final: a line an epoch, and on a terminal a progress line below them."""
    printer = EpochPrinter(console, client, job_id)
    jobs = client.watch(job_id)
    if not console.is_terminal:
        return _each(jobs, printer.show)
    progress = Progress(
        TextColumn("{task.fields[state]}", style="bold cyan"),
        BarColumn(bar_width=max(4, min(40, console.width - WIDTH_OF_FIGURES))),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[figures]}"),
        console=console,
    )
    task = progress.add_task("job", total=1.0, state="", figures="")
    with Live(progress, console=console, refresh_per_second=10, transient=True):

        def show(job: JobView) -> None:
            printer.show(job)
            _update(progress, task, job)

        return _each(jobs, show)


class EpochPrinter:
    """Prints each epoch of a job once, however many have passed between two looks."""

    def __init__(self, console: Console, client: Client, job_id: str) -> None:
        self._console = console
        self._client = client
        self._job_id = job_id
        self._printed = 0
        self._is_paused = False

    def show(self, job: JobView) -> None:
        """Print what is new."""
        self._show_epochs(job)
        is_paused = job.status is Status.PAUSED
        if is_paused and not self._is_paused:
            self._console.print(f"Paused; annealer resume {job.id} lets it go on.", highlight=False, soft_wrap=True)
        self._is_paused = is_paused

    def _show_epochs(self, job: JobView) -> None:
        if job.latest is None or job.latest.epoch <= self._printed:
            return
        if job.latest.epoch == self._printed + 1:
            news: Iterable[EpochView] = [job.latest]
        else:
            epochs = self._client.metrics(self._job_id, max_points=6).epochs
            news = [epoch for epoch in epochs if epoch.epoch > self._printed]
        if not self._printed:
            self._console.print(epoch_header(), style="dim", highlight=False)
        for epoch in news:
            self._console.print(epoch_line(epoch, job.progress.epochs), highlight=False)
            self._printed = epoch.epoch


def epoch_header() -> str:
    """What stands above lines of epochs."""
    return "  epoch     loss  accuracy  validation loss  accuracy      rate  images/s"


def epoch_line(epoch: EpochView, epochs: int) -> str:
    """An epoch in one line."""
    return (
        f"{f'{epoch.epoch}/{epochs}':>7}  {epoch.train_loss:7.4f}  {epoch.train_accuracy:8.2%}  "
        f"{epoch.validation_loss:15.4f}  {epoch.validation_accuracy:8.2%}  "
        f"{epoch.learning_rate:8.2g}  {epoch.images_per_second:8,.0f}"
    )


def job_summary(job: JobView) -> Table:
    """One job, a line a fact."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    progress = job.progress
    table.add_row("id", job.id)
    table.add_row("name", Text(job.name))
    table.add_row("status", _status(job))
    table.add_row("kind", job.kind)
    table.add_row("data set", job.dataset or "none")
    table.add_row("labels", Text(", ".join(f"{key}={value}" for key, value in job.labels.items()) or "none"))
    table.add_row("progress", f"epoch {progress.epoch}/{progress.epochs}, step {progress.step}/{progress.steps}")
    table.add_row("attempt", f"{job.attempt}; {job.max_attempts} may fail, counted anew by a retry")
    table.add_row("owner", job.owner)
    if job.priority:
        table.add_row("priority", str(job.priority))
    if job.max_runtime is not None:
        table.add_row("may run for", f"{job.max_runtime:g} s")
    if job.queue_position:
        table.add_row("in the queue", str(job.queue_position))
    if job.latest:
        table.add_row("validation", f"accuracy {job.latest.validation_accuracy:.2%}")
    if job.error:
        table.add_row("error", Text(f"{job.error.message} ({job.error.failure_class}, {job.error.code})", "red"))
        table.add_row("hint", Text(job.error.hint or "none"))
    for name, moment in (("created", job.created_at), ("started", job.started_at), ("finished", job.finished_at)):
        table.add_row(name, _moment(moment))
    return table


def job_table(jobs: Iterable[JobView]) -> Table:
    """Jobs, a line each."""
    table = _table("id", "name", "kind", "status", "done", "accuracy", "created")
    for job in jobs:
        accuracy = f"{job.latest.validation_accuracy:.2%}" if job.latest else ""
        now = job.progress
        done = f"{now.epoch}/{now.epochs}" if job.kind == "training" else f"{now.fraction:.0%}"
        table.add_row(job.id, Text(job.name), job.kind, _status(job), done, accuracy, _moment(job.created_at))
    return table


def ensemble_table(ensemble: EnsembleView) -> Table:
    """Members, a single model, and what they predict together; or averaged weights beside the last model.

    Where there is a report, members are shown as they do on the images of the score.
    """
    alone = {one.snapshot_id: one for one in ensemble.report.members} if ensemble.report else {}
    table = _table("model", "epoch", "weight", "accuracy", "error", "negative log-likelihood")
    if ensemble.averaged is None:
        for member in ensemble.members:
            name = f"snapshot {member.number}" if ensemble.kind != "combined" else member.snapshot_id
            weight = "" if member.weight is None else f"{member.weight:.3f}"
            scores = alone.get(member.snapshot_id, member.scores)
            table.add_row(name, str(member.epoch), weight, *_figures(scores))
        table.add_section()
    if ensemble.single:
        single = "best member alone" if ensemble.kind == "combined" else "last model alone"
        table.add_row(single, "", "", *_figures(ensemble.single))
    if ensemble.averaged is None and ensemble.geometric_mean and ensemble.majority_vote:
        table.add_row("geometric mean", "", "", *_figures(ensemble.geometric_mean))
        vote = ensemble.majority_vote
        table.add_row("majority vote", "", "", f"{vote.accuracy:.2%}", f"{vote.error:.2%}", "")
    if ensemble.scores:
        title = ensemble_title(ensemble.kind, len(ensemble.members), ensemble.averaged)
        table.add_row(title, "", "", *_figures(ensemble.scores), style="bold")
    return table


def ensemble_lines(ensemble: EnsembleView) -> Iterator[str]:
    """What scoring has found beside the table, a line a fact."""
    if ensemble.kind == "combined" and ensemble.scores is None:
        yield f"Its scoring, job {ensemble.job_id}, is {ensemble.status}."
    report = ensemble.report
    if report is None:
        return
    yield f"scored on         {report.split}, {report.images:,} images"
    if report.brier is not None and report.calibration:
        error = report.calibration.expected_calibration_error
        yield f"calibration       Brier score {report.brier:.4f}, expected calibration error {error:.4f}"
    gain = report.gain
    change = "more" if gain.error.estimate < 0 else "less"
    yield (
        f"error             {abs(gain.error.estimate):.2%} {change} than the best member alone; "
        f"gain {gain.error.low:.2%} to {gain.error.high:.2%} with {gain.confidence:.0%} confidence"
    )
    if report.diversity.mean_disagreement is not None:
        yield f"disagreement      {report.diversity.mean_disagreement:.2%} of images, between two members"
    if report.temperature:
        yield f"temperature       {report.temperature.value:.3f}, fitted on {report.temperature.on}"
    for point in report.growth:
        likelihood = point.negative_log_likelihood
        also = "" if likelihood is None else f", negative log-likelihood {likelihood:.4f}"
        yield f"{f'with {point.members} of them':<17} error {point.error:.2%}{also}"


def ensembles_table(ensembles: Iterable[EnsembleView]) -> Table:
    """Ensembles, a line each."""
    table = _table("id", "name", "kind", "status", "members", "accuracy", "created")
    for one in ensembles:
        accuracy = f"{one.scores.accuracy:.2%}" if one.scores else ""
        count = str(len(one.members))
        table.add_row(one.id, Text(one.name), one.kind, one.status, count, accuracy, _moment(one.created_at))
    return table


def predictions_table(found: PredictionsView, names: Sequence[str]) -> Table:
    """What is seen in each image, by the images' names; disagreement where it was asked for."""
    shows_members = any(one.disagreement is not None for one in found.items)
    table = _table("image", "label", "likeliest", *(["disagreement"] if shows_members else []))
    for name, one in zip(names, found.items, strict=True):
        likely = ", ".join(f"{each.label} {each.probability:.2%}" for each in one.top)
        disagreement = [] if one.disagreement is None else [f"{one.disagreement:.0%}"]
        table.add_row(Text(name), Text(one.label), Text(likely), *disagreement)
    return table


def comparison_tables(found: CompareView) -> Iterator[Table]:
    """Last figures of each job, what their specs differ in, and means over seeds."""
    jobs = _table("id", "name", "status", "epoch", "loss", "validation loss", "accuracy", "ensemble", "seconds")
    for job in found.jobs:
        figures = ["", "", "", ""]
        if last := job.last:
            figures = [str(last.epoch), f"{last.train_loss:.4f}", f"{last.validation_loss:.4f}"]
            figures.append(f"{last.validation_accuracy:.2%}")
        together = f"{job.ensemble.accuracy:.2%}" if job.ensemble else ""
        jobs.add_row(job.id, Text(job.name), job.status, *figures, together, f"{job.seconds:.1f}")
    yield jobs
    if found.differences:
        specs = _table("spec", *(job.id for job in found.jobs))
        for one in found.differences:
            specs.add_row(one.pointer, *(Text(json.dumps(value)) for value in one.values))
        yield specs
    for repetition in found.repetitions:
        means = _table(f"{len(repetition.jobs)} seeds", "mean", "std", "95% interval")
        for name, figure in repetition.figures.items():
            interval = f"{figure.low:.4f} to {figure.high:.4f}"
            means.add_row(name.replace("_", " "), f"{figure.mean:.4f}", f"{figure.std:.4f}", interval)
        yield means


def snapshot_table(snapshots: Iterable[SnapshotView]) -> Table:
    """Snapshots, a line each."""
    table = _table("number", "epoch", "accuracy", "error", "negative log-likelihood", "bytes", "id")
    for one in snapshots:
        table.add_row(str(one.number), str(one.epoch), *_figures(one.scores), f"{one.size:,}", one.id)
    return table


def files_table(files: Iterable[FileView]) -> Table:
    """Files of a job, a line each."""
    table = _table("name", "kind", "bytes", "sha256")
    for one in files:
        table.add_row(one.name, one.media_type, f"{one.size:,}", one.sha256)
    return table


def event_line(event: EventView) -> str:
    """An event in one line."""
    return f"{event.number:>4}  {_moment(event.created_at)}  {event.kind:<18} {event.message}"


def dataset_table(datasets: Iterable[DatasetView]) -> Table:
    """Data sets, a line each."""
    table = _table("name", "status", "images", "shape", "classes", "id")
    for one in datasets:
        images = f"{one.train_count:,} + {one.validation_count:,}" if one.status == "ready" else ""
        table.add_row(one.name, one.status, images, _shape(one), str(len(one.classes) or ""), one.id or "")
    return table


def dataset_summary(dataset: DatasetDetailView) -> Table:
    """What is known of a data set."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("name", dataset.name)
    table.add_row("status", Text(dataset.status, DATASET_COLOURS[dataset.status]))
    if dataset.owner:
        table.add_row("owner", dataset.owner)
    if dataset.splits is None:
        return table
    table.add_row("id", dataset.id)
    table.add_row("images", _shape(dataset))
    names = [name if len(name) <= 40 else f"{name[:39]}…" for name in dataset.classes[:20]]
    more = f" and {len(dataset.classes) - 20} more" if len(dataset.classes) > 20 else ""
    table.add_row("classes", Text(f"{len(dataset.classes)}: {', '.join(names)}{more}"))
    for name, split in dataset.splits:
        if split:
            fewest, most = min(split.per_class), max(split.per_class)
            table.add_row(name, f"{split.count:,}, of a class {fewest:,} to {most:,}")
    table.add_row("mean", ", ".join(f"{value:.4g}" for value in dataset.mean or []))
    table.add_row("std", ", ".join(f"{value:.4g}" for value in dataset.std or []))
    if dataset.size:
        table.add_row("size", f"{dataset.size:,} bytes")
    return table


def dataset_lines(dataset: DatasetDetailView) -> Iterator[str]:
    """What is strange about a data set, or why there is none."""
    for note in dataset.warnings:
        yield f"Warning: {note.detail}"
        yield from (f"  {entry}" for entry in note.entries[:10])
    if dataset.error:
        found = dataset.error.errors
        yield f"Failed: {dataset.error.detail}" if len(found) < 2 else "Failed:"
        yield from (f"  {place.entry}: {place.detail}" for place in (found if len(found) > 1 else []))


@contextmanager
def bytes_bar(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for bytes that are sent; what it yields is told how many of how many."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def worker_table(workers: Iterable[WorkerView]) -> Table:
    """Workers, a line each."""
    table = _table("id", "host", "process", "device", "devices", "precisions", "slots", "version", "seen")
    for one in workers:
        seen = ("drained" if one.drained else "alive") if one.alive else f"last {_moment(one.heartbeat_at)}"
        offer = one.offers["auto"]
        figures = (one.device, str(offer.devices), ", ".join(offer.precisions), str(one.slots))
        table.add_row(one.id, one.host, str(one.pid), *figures, one.version, seen)
    return table


def key_table(keys: Iterable[KeyView]) -> Table:
    """Keys, a line each."""
    table = _table("id", "name", "owner", "scope", "begins with", "made", "last used", "opens")
    for one in keys:
        if one.revoked_at:
            opens = f"nothing since {_moment(one.revoked_at)}"
        else:
            opens = f"until {_moment(one.expires_at)}" if one.expires_at else "for ever"
        moments = (_moment(one.created_at), _moment(one.last_used_at))
        table.add_row(one.id, Text(one.name), one.owner, one.scope, f"ann_{one.prefix}", *moments, opens)
    return table


def epoch_table(epochs: Iterable[EpochView]) -> Table:
    """Epochs, a line each."""
    table = _table("epoch", "loss", "accuracy", "validation loss", "accuracy", "rate", "images/s", "seconds")
    for one in epochs:
        table.add_row(
            str(one.epoch),
            f"{one.train_loss:.4f}",
            f"{one.train_accuracy:.2%}",
            f"{one.validation_loss:.4f}",
            f"{one.validation_accuracy:.2%}",
            f"{one.learning_rate:.3g}",
            f"{one.images_per_second:,.0f}",
            f"{one.seconds:.2f}",
        )
    return table


def layer_table(layers: Iterable[LayerView]) -> Table:
    """The network, a line a layer."""
    table = _table("", "layer", "kind", "output", "weights", "biases", "multiply-adds", "activations")
    for one in layers:
        shape = "×".join(str(size) for size in one.output_shape)
        counts = (one.biases, one.multiply_adds, one.activations)
        cells = [f"{count:,}" if count else "" for count in counts]
        table.add_row(str(one.index), one.name, one.kind, shape, _weights(one), *cells)
    return table


def _weights(layer: LayerView) -> str:
    """How many, worked out: `8 × (3·3·3) = 216` of eight 3×3 filters over three channels, `10 × 128 = 1,280`."""
    match layer.weight_shape:
        case []:
            return ""
        case [_]:
            return f"{layer.weights:,}"
        case [units, into]:
            return f"{units} × {into} = {layer.weights:,}"
        case [units, *into]:
            return f"{units} × ({'·'.join(map(str, into))}) = {layer.weights:,}"
    raise AssertionError


def layer_statistics_table(layers: Iterable[LayerStatisticsView], epoch: int) -> Table:
    """What stood in each layer after an epoch, with sketches of its outputs and of their gradients over half decades.

    The gradient's norm is that of the loss by the layer's weights.
    """
    figures = ("mean", "std", "gradient std", "dead", "saturated", "gradient norm", "update / weight")
    table = _table("", "layer", *figures, "outputs", "gradients")
    table.title = f"after epoch {epoch}" if epoch else "at initialisation"
    for one in layers:
        shares = ["" if share is None else f"{share:.1%}" for share in (one.dead, one.saturated)]
        values = (one.activations.mean, one.activations.std, one.gradients.std)
        table.add_row(
            str(one.index),
            one.name,
            *(_short(value) for value in values),
            *shares,
            *("" if value is None else _short(value) for value in (one.weight_gradient_norm, one.update_ratio)),
            sketch(one.activations.histogram),
            sketch(one.gradients.histogram),
        )
    return table


def sketch(counts: Sequence[int]) -> str:
    """A histogram in one line, two bins a character."""
    pairs = [sum(counts[index : index + 2]) for index in range(0, len(counts), 2)]
    most = max(pairs, default=0) or 1
    return "".join(BLOCKS[-(-count * (len(BLOCKS) - 1) // most)] for count in pairs)


def plan_lines(plan: PlanView) -> Iterator[str]:
    """What a spec would do, below its layer table."""
    yield (
        f"{plan.parameters:,} parameters, {plan.multiply_adds:,} multiply-adds an image, about "
        f"{plan.step_multiply_adds:,} a step; {plan.steps_per_epoch} steps an epoch, {plan.steps:,} in all."
    )
    memory = plan.memory_bytes
    parts = {
        "weights": memory.weights,
        "gradients": memory.gradients,
        "optimizer": memory.optimizer,
        "activations": memory.activations,
    }
    words = ", ".join(f"{name} {size / 2**20:,.1f}" for name, size in parts.items())
    yield f"About {sum(parts.values()) / 2**20:,.1f} MiB in a training step: {words}."
    yield ""
    epochs = len(plan.learning_rates) - 1
    yield from curve(_columns(plan.curve, epochs), height=6)
    yield " " * 10 + _marks(plan, epochs)
    warmup = f"; · warm-up of {plan.warmup_epochs:g} epochs" if plan.warmup_epochs else ""
    snapshots = _counted(len(plan.snapshot_epochs), "snapshot")
    yield " " * 10 + f"learning rate over {_counted(epochs, 'epoch')}; ▲ {snapshots}{warmup}"
    match plan.spec["ensemble"]:
        case {"kind": "independent", "members": members}:
            yield " " * 10 + f"each of {members} members goes through this; epochs are counted through"
        case {"kind": "swa", "start": start, "every": every}:
            count = len(range(start, epochs + 1, every))
            yield " " * 10 + f"the weights of {count} epochs are averaged, from epoch {start} on: one snapshot more"
        case {"kind": "ema", "decay": decay}:
            yield " " * 10 + f"the weights of all steps are averaged with decay {decay:g}: one snapshot more"
    if plan.spec["schedule"]["kind"] == "plateau":
        yield " " * 10 + "falls below this when the validation loss no longer improves"


def _columns(points: Iterable[PointView], epochs: int) -> list[float]:
    """The highest rate in each column of the drawing."""
    highest = [0.0] * COLUMNS
    for point in points:
        column = int(point.epoch / epochs * COLUMNS)
        highest[column] = max(highest[column], point.rate)
    return highest


def _marks(plan: PlanView, epochs: int) -> str:
    """What stands below the curve: dots under each warm-up, and a mark where an epoch ends in a snapshot."""
    marks = [" "] * COLUMNS
    pruning = plan.spec["pruning"]
    trainings = 1 + pruning["rounds"] if pruning else 1
    for column in range(COLUMNS):
        if (column * epochs / COLUMNS) % (epochs / trainings) < plan.warmup_epochs:
            marks[column] = "·"
    for epoch in plan.snapshot_epochs:
        if epoch <= epochs:
            marks[max(0, round(epoch / epochs * COLUMNS) - 1)] = "▲"
    return "".join(marks)


def curve(values: Sequence[float], *, height: int) -> Iterator[str]:
    """A filled curve of text, `height` lines of one column a value, the largest value at the top left."""
    largest = max(values)
    eighths = [round(value / largest * height * 8) for value in values]
    for line in range(height, 0, -1):
        label = f"{largest:>8.3g} ┤" if line == height else "         │"
        filled = (min(8, max(0, count - (line - 1) * 8)) for count in eighths)
        yield label + "".join(BLOCKS[count] for count in filled)
    yield f"{0:>8} ┼" + "─" * len(values)


def _each(jobs: Iterator[JobView], show: Callable[[JobView], None]) -> JobView:
    job = None
    for job in jobs:
        show(job)
    assert job is not None
    return job


def _update(progress: Progress, task: TaskID, job: JobView) -> None:
    now = job.progress
    figures = []
    if job.latest:
        figures.append(f"loss {job.latest.train_loss:.3f}, validation {job.latest.validation_accuracy:.2%}")
        figures.append(f"rate {job.latest.learning_rate:.3g}")
    if now.images_per_second:
        figures.append(f"{now.images_per_second:,.0f} images/s")
    if now.expected_end:
        left = max(0, (now.expected_end - datetime.now(UTC)).total_seconds())
        figures.append(f"{left:.0f} s left")
    state = f"{job.phase or job.status}"
    if now.epoch:
        state += f", epoch {now.epoch}/{now.epochs}"
    progress.update(task, completed=now.fraction, state=state, figures=" · ".join(figures))


def _table(*headers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        is_number = header in NUMBERS
        table.add_column(header, justify="right" if is_number else "left", no_wrap=header == "id", overflow="fold")
    return table


def _shape(dataset: DatasetView) -> str:
    return "×".join(map(str, dataset.shape or ()))


def _status(job: JobView) -> Text:
    words = job.status if job.phase is None else f"{job.status} ({job.phase})"
    return Text(words, COLOURS.get(job.status, ""))


def _figures(scores: ScoresView | CombinedScoresView | MemberReport) -> tuple[str, str, str]:
    likelihood = "" if scores.negative_log_likelihood is None else f"{scores.negative_log_likelihood:.4f}"
    return f"{scores.accuracy:.2%}", f"{scores.error:.2%}", likelihood


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _short(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _moment(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""
