"""The trainer's own steps beside the bare step and the usual loop; what streaming, updates and augmentation cost.

Batches of 128 random images: of 32×32 pixels in colour, for LeNet of 28×28 in grey; inspections are taken of `mnist5k`.
What is compared runs in turn, in one process, on all cores; the spread is over rounds. Shares and factors are ratios
within a round.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from operator import truediv
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.table import Table

from benchmarks import steps
from benchmarks.figures import spread, table
from trainer.augment import Augment
from trainer.data import DataSet, Split, load
from trainer.device import computes_in
from trainer.events import EpochFinished, LayersInspected
from trainer.parsing import parse
from trainer.spec import TrainingSpec
from trainer.train import train

ROUNDS = 3
STREAMED_ROUNDS = 9
BATCH = 128
PADDING = 4
CALLS = 20
INSPECTIONS = 5
CPU = torch.device("cpu")
CHANGES: list[dict[str, Any]] = [
    {"kind": "random_crop", "padding": PADDING},
    {"kind": "horizontal_flip"},
    {"kind": "color_jitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    {"kind": "pca_lighting"},
    {"kind": "cutout", "size": 8},
    {"kind": "mixup"},
]


@dataclass(frozen=True)
class Case:
    """A network, measured for so many rounds of so many steps; whether it is compiled too.

    Goals are for the share of the bare step and for how many times the usual loop.
    """

    network: dict[str, Any]
    steps: int
    rounds: int = ROUNDS
    shape: tuple[int, int, int] = (3, 32, 32)
    is_compiled: bool = False
    goals: tuple[str, str] = ("", "")


CASES = {
    "LeNet": Case({"kind": "lenet"}, 64, rounds=11, shape=(1, 28, 28), is_compiled=True, goals=("0.85", "3.0")),
    "ResNet-8": Case({"kind": "resnet", "depth": 8}, 12, rounds=5, goals=("0.95", "1.4")),
    "convnet": Case({"kind": "convnet", "batch_norm": {}}, 8, is_compiled=True),
    "VGG-11, small, width 16": Case(
        {"kind": "vgg", "depth": 11, "variant": "small", "width": 16, "batch_norm": {}}, 8, is_compiled=True
    ),
    "ResNet-20": Case({"kind": "resnet", "depth": 20}, 5, is_compiled=True),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "channels last": {"memory_format": "channels_last"},
    "contiguous": {"memory_format": "contiguous"},
}
COMPILED = {f"{name}, compiled": {**changes, "compile": True} for name, changes in LAYOUTS.items()}
HALF = {"channels last, bfloat16": {"memory_format": "channels_last", "precision": "bfloat16"}}

STEPPED: dict[str, dict[str, Any]] = {
    "LeNet": {"kind": "lenet", "padding": 0},
    "ResNet-8": {"kind": "resnet", "depth": 8},
}
"""Whose steps on colour images augmentation and updates are measured by."""

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"kind": "sgd"},
    "adagrad": {"kind": "adagrad"},
    "rmsprop": {"kind": "rmsprop"},
    "adam": {"kind": "adam"},
    "adamw": {"kind": "adamw"},
}
PLAIN = {"fused": False, "foreach": False}
FOREACH = {"fused": False, "foreach": True}

INSPECTED: dict[str, dict[str, Any]] = {
    "mlp, 16 units": {"kind": "mlp", "hidden": [16]},
    "mlp, 128 units": {"kind": "mlp", "hidden": [128]},
    "LeNet": {"kind": "lenet"},
    "convnet": {"kind": "convnet", "batch_norm": {}},
    "ResNet-8": {"kind": "resnet", "depth": 8},
}


def run() -> Iterator[Table]:
    """The comparisons."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    yield _against_others()
    yield _streaming()
    yield _augmentation()
    yield _updates()
    yield _inspections()


def _against_others() -> Table:
    headers = ("images/s", "share of the bare step", "goal", "times the usual loop", "goal", "ready in, s")
    found = table("the trainer's steps, with random crop and flip; the bare step's in its quicker layout", "", *headers)
    for name, case in CASES.items():
        spec, data = _spec(case.network, augmentation=CHANGES[:2]), _data(case.steps, case.shape)
        bare, usual = steps.bare(spec, data), _usual(spec, data)
        with ExitStack() as stack:
            trainings, ready = {}, {}
            for variant, changes in _variants(case).items():
                began = time.monotonic()
                varied = _spec(case.network, augmentation=CHANGES[:2], execution=changes)
                trainings[variant] = stack.enter_context(closing(Training(varied, data)))
                ready[variant] = time.monotonic() - began
            rounds = [_round(case, bare, usual, trainings) for _ in range(case.rounds)]
        found.add_row(name)
        for variant in trainings:
            own, share, times = zip(*(figures[variant] for figures in rounds), strict=True)
            goals = case.goals if variant in LAYOUTS else ("", "")
            figures = (spread(own, 0), spread(share), goals[0], spread(times), goals[1], f"{ready[variant]:.0f}")
            found.add_row(f"  {variant}", *figures)
        found.add_section()
        torch.compiler.reset()
    return found


def _round(
    case: Case, bare: Callable[[int], float], usual: Callable[[], float], trainings: Mapping[str, "Training"]
) -> dict[str, tuple[float, float, float]]:
    """Images a second of each training; their share of the bare step's; how many times the usual loop's."""
    own = {variant: training.epoch() for variant, training in trainings.items()}
    least, most = usual(), bare(case.steps)
    return {variant: (speed, speed / most, speed / least) for variant, speed in own.items()}


def _usual(spec: TrainingSpec, data: DataSet) -> Callable[[], float]:
    """With workers or without, whichever is quicker here."""
    loops = [steps.usual(spec, data, PADDING, workers) for workers in (0, len(os.sched_getaffinity(0)))]
    return max(loops, key=lambda loop: loop())


def _variants(case: Case) -> dict[str, dict[str, Any]]:
    half = HALF if computes_in(CPU, "bfloat16") else {}
    return {**LAYOUTS, **half, **(COMPILED if case.is_compiled else {})}


def _streaming() -> Table:
    headers = ("resident, images/s", "streamed, images/s", "share", "goal")
    found = table("steps on images that are streamed from a file, which the host's memory holds", "", *headers)
    for name in STEPPED:
        case = CASES[name]
        spec, data = _spec(case.network, augmentation=CHANGES[:2]), _data(case.steps, case.shape)
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            mapped = replace(data, train=_mapped(data.train, Path(folder) / "images.npy"))
            ways = [
                stack.enter_context(closing(Training(spec, chosen, resident_bytes=room)))
                for chosen, room in ((data, None), (mapped, 0))
            ]
            resident, streamed = zip(*([way.epoch() for way in ways] for _ in range(STREAMED_ROUNDS)), strict=True)
        shares = list(map(truediv, streamed, resident))
        found.add_row(name, spread(resident, 0), spread(streamed, 0), spread(shares), "0.95")
    return found


def _mapped(split: Split, path: Path) -> Split:
    """The same, with its images in a file."""
    np.save(path, split.images)
    return Split(np.load(path, mmap_mode="r"), split.labels)


def _augmentation() -> Table:
    headers = (f"share of a step of {name}" for name in STEPPED)
    found = table("each augmentation of a batch, beside a bare step", "", "ms", *headers)
    data = _data(1)
    whole = [steps.bare(_spec(network), data) for network in STEPPED.values()]
    for change in CHANGES:
        seconds, shares = [], []
        for _ in range(ROUNDS):
            seconds.append(_seconds(_spec(STEPPED["LeNet"], augmentation=[change]), data))
            shares.append([seconds[-1] * step(CALLS) / BATCH for step in whole])
        kind = str(change["kind"]).replace("_", " ")
        found.add_row(kind, spread([1e3 * one for one in seconds]), *map(spread, zip(*shares, strict=True)))
    return found


def _seconds(spec: TrainingSpec, data: DataSet) -> float:
    """Of the augmentation of a batch."""
    augment = Augment(spec.augmentation, data.train.images, len(data.classes), CPU, spec.seed)
    images, labels = torch.tensor(data.train.images), torch.tensor(data.train.labels)
    times = []
    for step in range(CALLS):
        began = time.perf_counter()
        augment(images, labels, step)
        times.append(time.perf_counter() - began)
    return median(times)


def _updates() -> Table:
    headers = ("ms", "times as quick as a plain loop", "times as quick as foreach")
    found = table(
        "an update as the trainer has it, fused where torch can, beside the same by torch otherwise", "", *headers
    )
    data = _data(1)
    for title, network in STEPPED.items():
        for name, optimizer in OPTIMIZERS.items():
            spec = _spec(network, optimizer=optimizer)
            ways = [steps.update(spec, data, settings) for settings in ({}, PLAIN, FOREACH)]
            rounds = [[way(CALLS) for way in ways] for _ in range(ROUNDS)]
            own, *others = zip(*rounds, strict=True)
            ratios = (spread(list(map(truediv, other, own))) for other in others)
            found.add_row(f"{title}, {name}", spread([1e3 * seconds for seconds in own]), *ratios)
        found.add_section()
    return found


def _inspections() -> Table:
    headers = ("inspection, ms", "epoch, s", "share of the epoch, %", "share of 15 epochs, as of 60,000 images, %")
    found = table("an inspection of the layers after each epoch of mnist5k, 4,000 images", "", *headers)
    dataset = load("mnist5k")
    for name, network in INSPECTED.items():
        spec = _spec(network, dataset="mnist5k", inspection={"every": 1})
        rounds = list(islice(_inspected_epochs(spec, dataset), 1, 1 + INSPECTIONS))
        shares = [100 * inspection / epoch for inspection, epoch in rounds]
        found.add_row(
            name,
            spread([1e3 * one for one, _ in rounds]),
            spread([one for _, one in rounds]),
            spread(shares),
            spread([one / 15 for one in shares]),
        )
    return found


def _inspected_epochs(spec: TrainingSpec, dataset: DataSet) -> Iterator[tuple[float, float]]:
    """Seconds of the inspection after each epoch, and of the epoch with its validation and checkpoint without it."""
    inspected = 0.0
    for event in train(spec, dataset, device=CPU):
        now = time.perf_counter()
        match event:
            case EpochFinished():
                finished = now
            case LayersInspected(epoch=epoch):
                if epoch > 0:
                    yield now - finished, finished - inspected
                inspected = now


class Training:
    """A training by the trainer, an epoch at a time; the first, in which it warms up, is over."""

    def __init__(self, spec: TrainingSpec, data: DataSet, resident_bytes: int | None = None) -> None:
        self._events = train(spec, data, device=CPU, resident_bytes=resident_bytes)
        self.epoch()

    def epoch(self) -> float:
        """Images a second of the steps of the next epoch."""
        return next(event.images_per_second for event in self._events if isinstance(event, EpochFinished))

    def close(self) -> None:
        """It is left where it is."""
        self._events.close()  # type: ignore[attr-defined]


def _spec(network: dict[str, Any], **changes: Any) -> TrainingSpec:
    document = {
        "name": "benchmark",
        "dataset": "random",
        "network": network,
        "schedule": {"kind": "constant", "learning_rate": 0.001},
        "batch_size": BATCH,
        "epochs": 1000,
    }
    return parse(json.dumps({**document, **changes}))


def _data(batches: int, shape: tuple[int, int, int] = (3, 32, 32)) -> DataSet:
    """Noise in ten classes."""
    draws = np.random.default_rng(0)

    def split(count: int) -> Split:
        return Split(draws.integers(0, 256, (count, *shape), dtype=np.uint8), draws.integers(0, 10, count))

    return DataSet("random", split(batches * BATCH), split(10), tuple("0123456789"))
