"""Trainings of a benchmark: two at a time, each finished one kept in a file, none done twice.

Two processes of one thread each train more than one process of two threads.
"""

import json
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from math import inf, log
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

import trainer
from trainer import data
from trainer.data import DataSet, Split
from trainer.errors import Diverged
from trainer.events import EnsembleScored, SnapshotTaken, TrainingStopped
from trainer.spec import TrainingSpec
from trainer.train import train

PROCESSES = 2

Found = TypeVar("Found")


@dataclass(frozen=True)
class Trial:
    """One training of a variant: with so many labels, from one seed."""

    variant: str
    labels: int
    seed: int
    spec: TrainingSpec

    @property
    def key(self) -> str:
        """What the result depends on, by hashes of spec, data set and code: when any changes it is another trial."""
        parts = (self.spec.sha256, labelled(self.spec.dataset, self.labels).sha256, code_version())
        return "-".join(part[:16] for part in parts)


@dataclass(frozen=True)
class Outcome:
    """On the validation split, of the last model or of the ensemble that the spec asks for.

    A training that has diverged predicts nothing: it counts as guessing, each of K classes with probability 1 / K.
    """

    error: float
    negative_log_likelihood: float
    diverged: bool
    seconds: float


class Book:
    """Outcomes by key, in a JSON file that is replaced as a whole, so that it can be read at any moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._document: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"runs": {}}

    def find(self, trial: Trial) -> Outcome | None:
        """The outcome, if the trial is done."""
        found = self._document["runs"].get(trial.key)
        return Outcome(**found["outcome"]) if found else None

    def add(self, trial: Trial, outcome: Outcome) -> None:
        """Keep a finished trial."""
        self._document["runs"][trial.key] = {
            "variant": trial.variant,
            "labels": trial.labels,
            "seed": trial.seed,
            "spec": trial.spec.model_dump(mode="json"),
            "outcome": asdict(outcome),
        }
        self._write()

    def conclude(self, conclusions: Mapping[str, Any]) -> None:
        """Keep what follows from the trials beside them."""
        self._document.update(conclusions)
        self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._path.with_suffix(".part")
        scratch.write_text(json.dumps(self._document, indent=1) + "\n")
        scratch.replace(self._path)


@cache
def labelled(name: str, labels: int) -> DataSet:
    """A bundled data set with the first `labels / K` training images of each of K classes, in their order.

    `mnist5k` comes shuffled, so that the first are as good as any; fewer labels are always among the more. Nothing
    is taken from the validation split.
    """
    whole = data.load(name)
    share = labels // len(whole.classes)
    of_each = [np.flatnonzero(whole.train.labels == number)[:share] for number in range(len(whole.classes))]
    chosen = np.sort(np.concatenate(of_each))
    return DataSet(name, Split(whole.train.images[chosen], whole.train.labels[chosen]), whole.validation, whole.classes)


@cache
def code_version() -> str:
    """Hash of the trainer's sources and of the versions of torch and numpy."""
    folder = Path(trainer.__file__).parent
    digest = sha256(f"{torch.__version__} {np.__version__}".encode())
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"\0{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def conduct(
    trials: Sequence[Trial],
    measure: Callable[[Trial, Callable[[], bool]], Found | None],
    keep: Callable[[Trial, Found], None],
) -> Iterator[Trial]:
    """Do the trials, each kept before it is told of; `measure` is a function of a module, and is asked to stop.

    When this is left early, by Ctrl-C or `close`, the trainings in hand stop after their step and are lost.
    """
    context = multiprocessing.get_context("spawn")
    stopping = context.Event()

    def finish(trial: Trial, future: Future[Found | None]) -> None:
        if (found := future.result()) is not None:
            keep(trial, found)

    with ProcessPoolExecutor(PROCESSES, context, _start, (stopping,)) as pool:
        with _sigint_ignored():
            waiting = {pool.submit(_stoppable, measure, trial): trial for trial in trials}
        try:
            for future in as_completed(list(waiting)):
                finish(waiting[future], future)
                yield waiting.pop(future)
        finally:
            stopping.set()
            pool.shutdown(cancel_futures=True)
            for future, trial in waiting.items():
                if not future.cancelled() and future.exception() is None:
                    finish(trial, future)


@contextmanager
def _sigint_ignored() -> Iterator[None]:
    """Processes that are started meanwhile inherit this: a terminal sends Ctrl-C to them too."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_stopping: Event


def _start(stopping: Event) -> None:
    """Prepare a process for trials."""
    global _stopping
    _stopping = stopping
    torch.set_num_threads(1)


def _stoppable(measure: Callable[[Trial, Callable[[], bool]], Found | None], trial: Trial) -> Found | None:
    return measure(trial, _stopping.is_set)


def measure(trial: Trial, stop: Callable[[], bool] = lambda: False) -> Outcome | None:
    """Train in this process; None when stopped. The newest of what is scored counts: an ensemble comes last."""
    dataset = labelled(trial.spec.dataset, trial.labels)
    began = time.monotonic()
    try:
        for event in train(trial.spec, dataset, device=torch.device("cpu"), checkpoint_seconds=inf, stop=stop):
            match event:
                case SnapshotTaken(scores=scores) | EnsembleScored(scores=scores):
                    found = scores
                case TrainingStopped():
                    return None
    except Diverged:
        classes = len(dataset.classes)
        return Outcome(1 - 1 / classes, log(classes), diverged=True, seconds=time.monotonic() - began)
    return Outcome(found.error, found.negative_log_likelihood, diverged=False, seconds=time.monotonic() - began)
