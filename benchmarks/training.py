"""The trainer's own steps beside the bare step and the usual loop; layouts, compiling and augmentation in them.

Batches of 128 random colour images of 32×32 pixels. What is compared runs in turn, in one process, on all cores; the
spread is over rounds. Figures are ratios within a round.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.table import Table

from benchmarks import steps
from benchmarks.figures import spread, table
from trainer.augment import Augment
from trainer.data import DataSet, Split
from trainer.device import computes_in
from trainer.events import EpochFinished
from trainer.parsing import parse
from trainer.spec import TrainingSpec
from trainer.train import train

ROUNDS = 3
BATCH = 128
PADDING = 4
CALLS = 20
CPU = torch.device("cpu")
CHANGES: list[dict[str, Any]] = [
    {"kind": "random_crop", "padding": PADDING},
    {"kind": "horizontal_flip"},
    {"kind": "color_jitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    {"kind": "pca_lighting"},
    {"kind": "cutout", "size": 8},
    {"kind": "mixup"},
]
COMPARED = {
    "LeNet": ({"kind": "lenet", "padding": 0}, 64, (0.85, 3.0)),
    "ResNet-8": ({"kind": "resnet", "depth": 8}, 16, (0.95, 1.4)),
}
"""Network; steps a round; goals: share of the bare step, times the usual loop."""
NETWORKS: dict[str, dict[str, Any]] = {
    "convnet": {"kind": "convnet", "batch_norm": {}},
    "VGG-11, small, width 16": {"kind": "vgg", "depth": 11, "variant": "small", "width": 16, "batch_norm": {}},
    "ResNet-20": {"kind": "resnet", "depth": 20},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "contiguous": {"memory_format": "contiguous"},
    "compiled, channels last": {"compile": True},
    "compiled, contiguous": {"memory_format": "contiguous", "compile": True},
    "bfloat16": {"precision": "bfloat16"},
}
VARIANT_STEPS = 6


def run() -> Iterator[Table]:
    """The three comparisons."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    yield _against_others()
    yield _variants()
    yield _augmentation()


def _against_others() -> Table:
    headers = ("images/s", "share of the bare step", "goal", "times the usual loop", "goal")
    found = table("the trainer's steps, with random crop and flip", "", *headers)
    for name, (network, count, (share, times)) in COMPARED.items():
        spec, data = _spec(network, augmentation=CHANGES[:2]), _data(count)
        bare, usual = steps.bare(spec, data), _usual(spec, data)
        own, by_bare, by_usual = [], [], []
        with closing(Training(spec, data)) as training:
            for _ in range(ROUNDS):
                own.append(training.epoch())
                by_bare.append(own[-1] / bare(count))
                by_usual.append(own[-1] / usual())
        found.add_row(name, spread(own, 0), spread(by_bare), f"{share:.2f}", spread(by_usual), f"{times:.1f}")
    return found


def _usual(spec: TrainingSpec, data: DataSet) -> Callable[[], float]:
    """With workers or without, whichever is quicker here."""
    loops = [steps.usual(spec, data, PADDING, workers) for workers in (0, len(os.sched_getaffinity(0)))]
    return max(loops, key=lambda loop: loop())


def _variants() -> Table:
    chosen = {name: changes for name, changes in VARIANTS.items() if _is_possible(changes)}
    found = table("times the steps that are not compiled, in float32, channels last", "", *chosen, "compiled in, s")
    data = _data(VARIANT_STEPS)
    for name, network in NETWORKS.items():
        ratios: dict[str, list[float]] = {variant: [] for variant in chosen}
        with ExitStack() as stack:
            began = time.monotonic()
            base = stack.enter_context(closing(Training(_spec(network), data)))
            eager_start = time.monotonic() - began
            trainings, starts = {}, {}
            for variant, changes in chosen.items():
                began = time.monotonic()
                trainings[variant] = stack.enter_context(closing(Training(_spec(network, execution=changes), data)))
                starts[variant] = time.monotonic() - began - eager_start
            for _ in range(ROUNDS):
                speed = base.epoch()
                for variant, training in trainings.items():
                    ratios[variant].append(training.epoch() / speed)
        compiling = [start for variant, start in starts.items() if chosen[variant].get("compile")]
        found.add_row(name, *map(spread, ratios.values()), spread(compiling, 0))
        torch.compiler.reset()
    return found


def _is_possible(changes: dict[str, Any]) -> bool:
    return changes.get("precision") != "bfloat16" or computes_in(CPU, "bfloat16")


def _augmentation() -> Table:
    headers = (f"share of a step of {name}" for name in COMPARED)
    found = table("each augmentation of a batch, beside a bare step", "", "ms", *headers)
    data = _data(1)
    whole = [steps.bare(_spec(network), data) for network, *_ in COMPARED.values()]
    for change in CHANGES:
        seconds, shares = [], []
        for _ in range(ROUNDS):
            seconds.append(_seconds(_spec(COMPARED["LeNet"][0], augmentation=[change]), data))
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


class Training:
    """A training by the trainer, an epoch at a time; the first, in which it warms up, is over."""

    def __init__(self, spec: TrainingSpec, data: DataSet) -> None:
        self._events = train(spec, data, device=CPU)
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


def _data(batches: int) -> DataSet:
    """Noise in ten classes."""
    draws = np.random.default_rng(0)

    def split(count: int) -> Split:
        return Split(draws.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), draws.integers(0, 10, count))

    return DataSet("random", split(batches * BATCH), split(10), tuple("0123456789"))
