"""A whole job, through API, worker, events and storage, beside the bare training step of the same network.

Batches of 128 images. Both use all cores, in turn.
"""

import json
import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import torch
from rich.table import Table

from benchmarks.figures import spread, table
from benchmarks.service import Service, service
from benchmarks.steps import bare
from trainer import data
from trainer.parsing import parse
from trainer.spec import TrainingSpec

ROUNDS = 5
EPOCHS = 4
STEPS = 100
SPEC = {
    "name": "benchmark",
    "dataset": "mnist5k",
    "network": {"kind": "convnet", "channels": [32, 64, 128], "batch_norm": {}, "dropout": {"drop": 0.3}},
    "schedule": {"kind": "constant", "learning_rate": 0.05},
    "epochs": EPOCHS,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "convnet, batch 128": {},
    "the same, random crop": {"augmentation": [{"kind": "random_crop", "padding": 2}]},
}


def run() -> Iterator[Table]:
    """The bare step and each variant in turn."""
    bare_steps: list[float] = []
    training: dict[str, list[float]] = {name: [] for name in VARIANTS}
    whole: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with service("sqlite", worker=True) as running:
        for _ in range(ROUNDS):
            bare_steps.append(_in_a_process(parse(json.dumps(SPEC))))
            for name, changes in VARIANTS.items():
                epochs = _epochs(running, {**SPEC, **changes})
                training[name].append(median(epoch["images_per_second"] for epoch in epochs))
                images = len(epochs) * 4000
                whole[name].append(images / sum(epoch["seconds"] for epoch in epochs))
    found = table("images a second", "", "images/s", "share of the bare step")
    found.add_row("bare training step", spread(bare_steps, 0), "1.00")
    for name in VARIANTS:
        found.add_row(f"{name}: training", spread(training[name], 0), _share(training[name], bare_steps))
        found.add_row(f"{name}: with validation", spread(whole[name], 0), _share(whole[name], bare_steps))
    yield found


def _share(samples: list[float], bare: list[float]) -> str:
    return spread([one / base for one, base in zip(samples, bare, strict=True)])


def _epochs(running: Service, spec: dict[str, Any]) -> list[dict[str, Any]]:
    job = running.http.post("/v1/jobs", json=spec).json()
    while job["status"] in ("queued", "running"):
        headers = {"If-None-Match": f'"{job["version"]}"', "Prefer": "wait=30"}
        answer = running.http.get(f"/v1/jobs/{job['id']}", headers=headers)
        job = answer.json() if answer.status_code == 200 else job
    assert job["status"] == "succeeded", job["error"]
    epochs: list[dict[str, Any]] = running.http.get(f"/v1/jobs/{job['id']}/metrics").json()["epochs"]
    return epochs


def _in_a_process(spec: TrainingSpec) -> float:
    """In a process of its own, as a job is."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_bare, args=(spec, theirs))
    process.start()
    speed: float = ours.recv()
    process.join()
    return speed


def _bare(spec: TrainingSpec, pipe: Connection) -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    dataset = data.load(spec.dataset)
    steps = bare(spec, dataset)
    pipe.send(steps(STEPS))
