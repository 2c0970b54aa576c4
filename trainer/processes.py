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
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from trainer import data, device
from trainer.data import DataSet
from trainer.errors import Mistake, TrainerError
from trainer.replicas import meet, meeting_file
from trainer.spec import TrainingSpec
from trainer.train import train

ENVIRONMENT = "env://"
"""torch's word for the variables that torchrun sets."""


@dataclass(frozen=True)
class Place:
    """This process is the one that has `rank` of `count`, and has the device `local` of its machine.

    They meet at `where`. `threads` are its own on a CPU.
    """

    rank: int
    count: int
    local: int
    where: str
    threads: int


@contextmanager
def take_place(spec: TrainingSpec, folder: Path | None, threads: int | None) -> Iterator[Place]:
    """Find out who this process is; if it is alone, start those that the spec asks for, and end them after.

    `folder` is that of the data set, if it has one.
    """
    if _is_under_torchrun():
        yield _torchrun_place(threads)
        return
    threads = threads or max(1, torch.get_num_threads() // spec.devices)
    with tempfile.TemporaryDirectory(prefix="annealer-") as meeting:
        where = meeting_file(Path(meeting) / "meeting")
        places = [Place(rank, spec.devices, rank, where, threads) for rank in range(spec.devices)]
        with _followers(spec, folder, places[1:]):
            yield places[0]


def mistakes(spec: TrainingSpec) -> Iterator[Mistake]:
    """Of a spec that asks for other devices than those of this machine, or of those that torchrun gives."""
    if not _is_under_torchrun():
        yield from device.mistakes(spec.device, spec.devices)
        return
    count = int(os.environ["WORLD_SIZE"])
    if count != spec.devices:
        detail = f"torchrun started {count} processes, and this asks for {spec.devices} devices: make them the same."
        yield Mistake("/devices", "not_as_started", detail)
    yield from device.mistakes(spec.device, int(os.environ["LOCAL_WORLD_SIZE"]))


def _is_under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _torchrun_place(threads: int | None) -> Place:
    rank, count, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    return Place(rank, count, local, ENVIRONMENT, threads or torch.get_num_threads())


@contextmanager
def _followers(spec: TrainingSpec, folder: Path | None, places: list[Place]) -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = [
        context.Process(target=_start_following, args=(spec.model_dump_json(), folder, place), daemon=True)
        for place in places
    ]
    for process in processes:
        process.start()
    try:
        yield
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.kill()


def _start_following(spec_json: str, folder: Path | None, place: Place) -> None:
    """In a process of its own, which leaves Ctrl-C to the first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spec = TrainingSpec.model_validate_json(spec_json)
    dataset = data.load_folder(folder) if folder else data.load(spec.dataset)
    with suppress(TrainerError):
        follow(spec, dataset, place)


def follow(spec: TrainingSpec, dataset: DataSet, place: Place) -> None:
    """Train as one of those whose reports nobody reads: the first says the same."""
    torch.set_num_threads(place.threads)
    chosen = device.choose(spec.device, place.local)
    with meet(place.rank, place.count, chosen, place.where) as replicas:
        for _ in train(spec, dataset, device=chosen, replicas=replicas):
            pass
