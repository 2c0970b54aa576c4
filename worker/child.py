"""The process that holds the device: does one job's work, whatever its kind, and reports over a pipe.

Forked from a server that has imported this module, and so torch, but never touched CUDA or run a parallel
operation. It ends when its supervisor is gone.
"""

import contextlib
import ctypes
import errno
import faulthandler
import itertools
import os
import platform
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from trainer import checkpoint, data, device, export, snapshot
from trainer.datasets.pack import open_pack
from trainer.errors import (
    DataInvalid,
    DataRefused,
    Diverged,
    ExecutionUnavailable,
    InitializationFailed,
    LintRefused,
    SpecInvalid,
    TrainerError,
)
from trainer.events import (
    Advanced,
    CheckpointReady,
    Event,
    FileWritten,
    PackFileWritten,
    SnapshotTaken,
    StepsFinished,
    TrainingStarted,
)
from trainer.parsing import parse, parse_as
from trainer.predictions import predict_all
from trainer.replicas import meet, meeting_file
from trainer.scoring import score
from trainer.spec.exporting import ResolvedExport
from trainer.spec.prediction import ResolvedPrediction
from trainer.spec.scoring import ScoringSpec
from trainer.train import Resume, train
from worker import disk, intake
from worker.machine import Machine
from worker.order import STOP, Data, ExportTask, ImportTask, Order, PredictionTask, ScoringTask, TrainingTask
from worker.wire import Failed, Message, encode

OUTBOX_EVENTS = 64
FILES = "files"
"""The folder of what a job is to make, in the attempt's scratch folder."""


class Outbox(threading.Thread):
    """Writes files and sends messages in order, beside the training. Bounded: training waits when it is full."""

    def __init__(self, connection: Connection, scratch: Path) -> None:
        super().__init__(daemon=True, name="outbox")
        self._connection = connection
        self._scratch = scratch
        self._events: queue.Queue[Event | None] = queue.Queue(maxsize=OUTBOX_EVENTS)
        self._error: Exception | None = None
        # A checkpoint of one step may come twice: each has a file of its own.
        self._numbers = itertools.count(1)

    def put(self, event: Event) -> None:
        """Hand on an event; raises what went wrong with an earlier one."""
        if self._error is not None:
            raise self._error
        self._events.put(event)

    def drain(self) -> None:
        """Return when everything has been sent; raises what went wrong."""
        self._events.put(None)
        self.join()
        if self._error is not None:
            raise self._error

    def close(self, failure: Failed) -> None:
        """Send what is left, then `failure`."""
        with contextlib.suppress(Exception):
            self.drain()
        self._connection.send_bytes(encode(Message(failure)))

    def run(self) -> None:
        while (event := self._events.get()) is not None:
            if self._error is not None:
                continue
            try:
                self._connection.send_bytes(encode(Message(event, self._write(event))))
            except Exception as error:
                self._error = error

    def _write(self, event: Event) -> str | None:
        match event:
            case SnapshotTaken(number=number, weights=weights, provenance=provenance):
                name = f"snapshot-{number}.safetensors"
                snapshot.write(self._scratch / name, weights, provenance)
            case CheckpointReady(tensors=tensors, facts=facts):
                name = f"checkpoint-{next(self._numbers)}.safetensors"
                checkpoint.write(self._scratch / name, tensors, facts)
            case PackFileWritten(name=name):
                return f"{intake.PACK}/{name}"
            case FileWritten(name=name):
                return f"{FILES}/{name}"
            case _:
                return None
        return name


def run(connection: Connection, order: Order, output: Connection) -> None:
    """Do as ordered; every event goes to `connection`, an error as a last message, what is printed to `output`.

    Of several that work together, the first reports the events.
    """
    _settle(output)
    _say(f"process {os.getpid()}: Python {platform.python_version()}, torch {torch.__version__}")
    stop = threading.Event()
    threading.Thread(target=_listen, args=(connection, stop), daemon=True, name="listener").start()
    outbox = Outbox(connection, order.scratch)
    outbox.start()
    step = 0
    try:
        for event in _events(order, stop):
            if order.rank == 0:
                outbox.put(event)
            match event:
                case TrainingStarted():
                    step = event.first_step - 1
                    threads = f"{order.threads} thread{'s' if order.threads > 1 else ''}"
                    _say(f"training on {order.device} with {threads} from step {event.first_step}")
                    if event.streamed:
                        _say(f"streaming from the host: {' and '.join(event.streamed)} images")
                case StepsFinished():
                    step = event.first_step + len(event.losses) - 1
                case Advanced():
                    step = event.done
        outbox.drain()
    except Exception as error:
        failure = _failure(error, step, order.scratch)
        if failure.failure_class in ("infrastructure", "out_of_memory"):
            sys.excepthook(type(error), error, error.__traceback__)
        else:
            _say(f"{failure.code}: {failure.message}")
        outbox.close(failure)


def probe(connection: Connection) -> None:
    """Tell what this machine trains on, without CUDA being touched in the fork server."""
    gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    kinds = {"cpu": [torch.device("cpu")], "cuda": gpus}
    precisions = {
        kind: tuple(sorted(frozenset.intersection(*map(device.precisions, found))))
        for kind, found in kinds.items()
        if found
    }
    names = tuple(torch.cuda.get_device_name(gpu) for gpu in gpus)
    connection.send(Machine(names, device.cores(), precisions))
    connection.close()


def _say(line: str) -> None:
    """A line of our own in the job's log."""
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}\n")


def _settle(output: Connection) -> None:
    """A process group of its own, output for the job's log, no terminal's Ctrl-C, no survivor."""
    os.setpgid(0, 0)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output.fileno(), stream.fileno())
        # Whatever ends this process, what it has printed is out.
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    output.close()
    faulthandler.enable()


def _listen(connection: Connection, stop: threading.Event) -> None:
    """Wait for the word to stop. The end of the pipe means that nobody is left to report to."""
    try:
        while connection.recv_bytes() == STOP:
            stop.set()
    except (EOFError, OSError):
        os._exit(1)


def _events(order: Order, stop: threading.Event) -> Iterator[Event]:
    torch.set_num_threads(order.threads)
    match order.task:
        case TrainingTask():
            yield from _train(order, order.task, stop)
        case ScoringTask():
            yield from _score(order, order.task, stop)
        case PredictionTask():
            yield from _predict(order, order.task, stop)
        case ExportTask():
            yield from _export(order, order.task)
        case ImportTask():
            intake.confine(order.task.memory_bytes, order.task.processor_seconds)
            yield from intake.run(order.task, order.scratch, stop.is_set)


def _train(order: Order, task: TrainingTask, stop: threading.Event) -> Iterator[Event]:
    spec, dataset = parse(task.spec.encode()), _load(task.data)
    resume = Resume(task.checkpoint, task.snapshots) if task.checkpoint else None
    device = torch.device(order.device)
    with meet(order.rank, order.count, device, meeting_file(order.meeting)) as replicas:
        yield from train(
            spec,
            dataset,
            device=device,
            replicas=replicas,
            resume=resume,
            resident_bytes=order.resident_bytes,
            checkpoint_seconds=task.checkpoint_seconds,
            report_seconds=task.report_seconds,
            stop=stop.is_set,
        )


def _score(order: Order, task: ScoringTask, stop: threading.Event) -> Iterator[Event]:
    spec, dataset = parse_as(ScoringSpec, task.spec), _load(task.data)
    yield from score(spec, dataset, task.members, device=torch.device(order.device), stop=stop.is_set)


def _predict(order: Order, task: PredictionTask, stop: threading.Event) -> Iterator[Event]:
    spec, dataset, folder = parse_as(ResolvedPrediction, task.spec), _load(task.data), order.scratch / FILES
    folder.mkdir()
    yield from predict_all(spec, dataset, task.members, folder, device=torch.device(order.device), stop=stop.is_set)


def _export(order: Order, task: ExportTask) -> Iterator[Event]:
    spec = parse_as(ResolvedExport, task.spec)
    yield from export.events(spec, task.members, order.scratch / FILES)


def _load(wanted: Data) -> data.DataSet:
    """The data set of a task. Raises `DataInvalid`."""
    found = replace(open_pack(wanted.folder), name=wanted.name) if wanted.folder else data.load(wanted.name)
    if found.sha256 != wanted.sha256:
        raise DataInvalid(
            f"The data set {wanted.name} on this worker is not the one that the job was made for "
            f"(sha256 {found.sha256[:12]}…, expected {wanted.sha256[:12]}…)."
        )
    return found


def _failure(error: Exception, step: int, scratch: Path) -> Failed:
    match error:
        case Diverged():
            detail = {"epoch": error.epoch, "layer": error.layer, "checkpoint_step": error.checkpoint_step}
            return Failed("diverged", "loss_not_finite", str(error), detail, error.hint, error.step)
        case DataRefused():
            found = {"findings": [asdict(finding) for finding in error.findings], "count": error.count}
            first, more = error.findings[0], error.count - 1
            told = f"{first.entry}: {first.detail}" + (f" And {more} more." if more else "")
            return Failed("user", "data_refused", told, found, error.hint, step)
        case SpecInvalid() | DataInvalid() | ExecutionUnavailable() | InitializationFailed() | LintRefused():
            return Failed("user", _code(error), str(error), {}, error.hint, step)
        case TrainerError():
            return Failed("infrastructure", _code(error), str(error), {}, error.hint, step)
        case intake.OutOfTime():
            hint = "Give fewer or smaller images, or the worker more time for imports."
            return Failed("timeout", "processor_time", "The import used up its processor time.", {}, hint, step)
        case torch.OutOfMemoryError():
            return Failed("out_of_memory", "out_of_memory", "The device ran out of memory.", {}, None, step)
        case MemoryError():
            return Failed("out_of_memory", "out_of_memory", "The process ran out of memory.", {}, None, step)
        case OSError(errno=errno.ENOSPC):
            return Failed("infrastructure", "disk_full", disk.full(scratch), {}, "Make room on the worker.", step)
    message = f"The trainer ended with an unexpected {type(error).__name__}; the job's log has the details."
    return Failed("infrastructure", "unexpected_error", message, {}, None, step)


def _code(error: Exception) -> str:
    """`DataInvalid` → `data_invalid`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in type(error).__name__)[1:]
