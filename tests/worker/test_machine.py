"""What a worker finds out about its machine, and says of it."""

from dataclasses import replace

import pytest
import torch

from app.store import workers
from tests.servers import await_true
from tests.worker.conftest import Plant
from trainer.device import precisions
from worker import child
from worker.machine import Machine


class Sent:
    """The probe's end of a pipe."""

    def __init__(self) -> None:
        self.found: list[Machine] = []

    def send(self, machine: Machine) -> None:
        self.found.append(machine)

    def close(self) -> None:
        pass


def probed() -> Machine:
    sent = Sent()
    child.probe(sent)  # type: ignore[arg-type]
    (machine,) = sent.found
    return machine


def test_a_worker_reports_its_devices_and_what_they_compute_in(plant: Plant) -> None:
    def reported() -> bool:
        with plant.shop.look() as session:
            return any(alive for _, alive in workers.all_of_them(session))

    await_true(reported, 10)
    with plant.shop.look() as session:
        row = next(worker for worker, alive in workers.all_of_them(session) if alive)

    # The tests' workers train with one thread, and so with one process.
    assert row.offers["cpu"] == {"devices": 1, "precisions": sorted(precisions(torch.device("cpu")))}


def test_unlike_gpus_count_for_what_all_of_them_have(monkeypatch: pytest.MonkeyPatch) -> None:
    have = {"cpu": {"float32"}, "cuda:0": {"float32", "float16", "bfloat16"}, "cuda:1": {"float32", "float16"}}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda gpu: f"GPU {gpu.index}")
    monkeypatch.setattr("trainer.device.precisions", lambda device: frozenset(have[str(device)]))

    machine = probed()

    assert machine.gpus == ("GPU 0", "GPU 1")
    assert machine.precisions == {"cpu": ("float32",), "cuda": ("float16", "float32")}


def test_a_machine_told_to_leave_its_gpus_alone_has_none() -> None:
    machine = replace(probed(), gpus=("GPU",), precisions={"cpu": ("float32",), "cuda": ("float16", "float32")})

    assert machine.without_gpus() == Machine((), machine.cores, {"cpu": ("float32",)})
