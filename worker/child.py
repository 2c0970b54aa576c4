"""The process that holds the device: trains one job and reports over a pipe.

Forked from a server that has imported this module, and so torch, but never touched CUDA or run a parallel
operation. It ends when its supervisor is gone.
"""

import contextlib
import ctypes
import errno
import faulthandler
import itertools
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from trainer import checkpoint, data, snapshot
from trainer.errors import (
    DataInvalid,
    Diverged,
    ExecutionUnavailable,
    InitializationFailed,
    LintRefused,
    SpecInvalid,
    TrainerError,
)
from trainer.events import CheckpointReady, Event, SnapshotTaken, StepsFinished, TrainingStarted
from trainer.parsing import parse
from trainer.train import Resume, train
from worker import disk
from worker.order import STOP, Order
from worker.wire import Failed, Message, encode

OUTBOX_EVENTS = 64


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
            case _:
                return None
        return name


def run(connection: Connection, order: Order) -> None:
    """Train as ordered; every event goes to `connection`, an error as a last message."""
    _settle(order.scratch)
    stop = threading.Event()
    threading.Thread(target=_listen, args=(connection, stop), daemon=True, name="listener").start()
    outbox = Outbox(connection, order.scratch)
    outbox.start()
    step = 0
    try:
        for event in _events(order, stop):
            outbox.put(event)
            match event:
                case TrainingStarted():
                    step = event.first_step - 1
                case StepsFinished():
                    step = event.first_step + len(event.losses) - 1
        outbox.drain()
    except Exception as error:
        failure = _failure(error, step, order.scratch)
        if failure.failure_class == "infrastructure":
            sys.excepthook(type(error), error, error.__traceback__)
        outbox.close(failure)


def probe(connection: Connection) -> None:
    """Tell which GPUs this machine has, by name, without CUDA being touched in the fork server."""
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    connection.send(names)
    connection.close()


def _settle(scratch: Path) -> None:
    """A process group of its own, output in the scratch folder, no terminal's Ctrl-C, no survivor."""
    os.setpgid(0, 0)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log = os.open(scratch / "child.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.close(log)
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
    spec = parse(order.spec.encode())
    dataset = data.load(order.dataset)
    if dataset.sha256 != order.dataset_sha256:
        raise DataInvalid(
            f"The data set {order.dataset} on this worker is not the one that the job was made for "
            f"(sha256 {dataset.sha256[:12]}…, expected {order.dataset_sha256[:12]}…)."
        )
    resume = Resume(order.checkpoint, order.snapshots) if order.checkpoint else None
    return train(
        spec,
        dataset,
        device=torch.device(order.device),
        resume=resume,
        checkpoint_seconds=order.checkpoint_seconds,
        report_seconds=order.report_seconds,
        stop=stop.is_set,
    )


def _failure(error: Exception, step: int, scratch: Path) -> Failed:
    match error:
        case Diverged():
            detail = {"epoch": error.epoch, "layer": error.layer, "checkpoint_step": error.checkpoint_step}
            return Failed("diverged", "loss_not_finite", str(error), detail, error.hint, error.step)
        case SpecInvalid() | DataInvalid() | ExecutionUnavailable() | InitializationFailed() | LintRefused():
            return Failed("user", _code(error), str(error), {}, error.hint, step)
        case TrainerError():
            return Failed("infrastructure", _code(error), str(error), {}, error.hint, step)
        case torch.OutOfMemoryError() | MemoryError():
            hint = "Lower batch_size or make the network smaller."
            return Failed("out_of_memory", "out_of_memory", "The device ran out of memory.", {}, hint, step)
        case OSError(errno=errno.ENOSPC):
            return Failed("infrastructure", "disk_full", disk.full(scratch), {}, "Make room on the worker.", step)
    message = f"The trainer ended with an unexpected {type(error).__name__}; the worker's log has the details."
    return Failed("infrastructure", "unexpected_error", message, {}, None, step)


def _code(error: Exception) -> str:
    """`DataInvalid` → `data_invalid`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in type(error).__name__)[1:]
