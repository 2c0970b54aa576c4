"""Where this process stands among those that train one model, when nothing but the trainer starts them.

`python -m trainer` starts the others itself, one a device of this machine. torchrun starts all, on as many machines as
it is told, and says in the environment who is who.
"""

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from trainer import data, device
from trainer.data import DataSet
from trainer.datasets import loading
from trainer.errors import DeviceUnavailable, Mistake, PeerLost, SpecInvalid, TrainerError
from trainer.offer import Offer
from trainer.replicas import meet, meeting_file
from trainer.spec import TrainingSpec
from trainer.train import train

ENVIRONMENT = "env://"
"""torch's word for the variables that torchrun sets."""


@dataclass(frozen=True)
class Place:
    """This process is the one that has `rank` of `count`, and has the device `local` of its machine.

    They meet at `where`. `threads` are its own on a CPU; `resident_bytes` of images may lie on its device, None: what
    fits.
    """

    rank: int
    count: int
    local: int
    where: str
    threads: int
    resident_bytes: int | None


@contextmanager
def take_place(
    spec: TrainingSpec, folder: Path | None, threads: int | None, resident_bytes: int | None
) -> Iterator[Place]:
    """Find out who this process is; if it is alone, start those that the spec asks for, and end them after.

    `folder` is that of the data set, if it has one. Raises `PeerLost`.
    """
    if _is_under_torchrun():
        yield _torchrun_place(threads, resident_bytes)
        return
    threads = threads or max(1, torch.get_num_threads() // spec.devices)
    with tempfile.TemporaryDirectory(prefix="annealer-") as meeting:
        where = meeting_file(Path(meeting) / "meeting")
        places = [Place(rank, spec.devices, rank, where, threads, resident_bytes) for rank in range(spec.devices)]
        with _followers(spec, folder, places[1:]):
            yield places[0]


def offer(spec: TrainingSpec) -> Offer:
    """What there is for the spec: this machine's devices, or as many processes as torchrun has started.

    Raises `SpecInvalid` where the spec asks for GPUs that are not here, or for another number of processes.
    """
    try:
        here = device.offer(spec.device)
    except DeviceUnavailable as error:
        raise SpecInvalid([Mistake("/device", "no_such_device", f"{error} Use device: auto.")]) from error
    if not _is_under_torchrun():
        return here
    count = int(os.environ["WORLD_SIZE"])
    if count != spec.devices:
        detail = f"torchrun started {count} processes, and this asks for {spec.devices} devices: make them the same."
        raise SpecInvalid([Mistake("/devices", "not_as_started", detail)])
    if (local := int(os.environ["LOCAL_WORLD_SIZE"])) > here.devices:
        detail = f"torchrun started {local} processes on this machine, which has {here.devices} devices; start fewer."
        raise SpecInvalid([Mistake("/devices", "too_many_devices", detail)])
    return Offer(count, here.precisions)


def _is_under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _torchrun_place(threads: int | None, resident_bytes: int | None) -> Place:
    rank, count, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    return Place(rank, count, local, ENVIRONMENT, threads or torch.get_num_threads(), resident_bytes)


@contextmanager
def _followers(spec: TrainingSpec, folder: Path | None, places: list[Place]) -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []
    try:
        ready = []
        for place in places:
            ours, theirs = context.Pipe()
            arguments = (spec.model_dump_json(), folder, place, theirs)
            processes.append(context.Process(target=_start_following, args=arguments, daemon=True))
            processes[-1].start()
            theirs.close()
            ready.append(ours)
        for waiting in ready:
            _await_ready(waiting)
        yield
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.kill()


def _await_ready(waiting: Connection) -> None:
    """Raises `PeerLost` where the process is gone before it could join: the meeting would wait for it for long."""
    try:
        waiting.recv()
    except EOFError as error:
        raise PeerLost("A process for one of the devices could not start; what it printed tells why.") from error


def _start_following(spec_json: str, folder: Path | None, place: Place, ready: Connection) -> None:
    """In a process of its own, which leaves Ctrl-C to the first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spec = TrainingSpec.model_validate_json(spec_json)
    dataset = loading.load(folder) if folder else data.load(spec.dataset)
    ready.send(True)
    with suppress(TrainerError):
        follow(spec, dataset, place)


def follow(spec: TrainingSpec, dataset: DataSet, place: Place) -> None:
    """Train as one of those whose reports nobody reads: the first says the same."""
    torch.set_num_threads(place.threads)
    chosen = device.choose(spec.device, place.local)
    with meet(place.rank, place.count, chosen, place.where) as replicas:
        for _ in train(spec, dataset, device=chosen, replicas=replicas, resident_bytes=place.resident_bytes):
            pass
