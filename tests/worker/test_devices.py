"""Jobs on several devices: who gets which, and processes that train one job together."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.store import wishes
from app.store.states import Status
from tests.servers import Template, await_true
from tests.specs import spec
from tests.trainer.test_command import run, written
from tests.worker.conftest import Plant
from tests.worker.test_worker import SECONDS, await_epoch, await_status, files, kinds, status
from trainer import data
from worker.devices import Devices
from worker.order import Data, Order, TrainingTask
from worker.team import Team

LONG: dict[str, Any] = {
    "network": {"kind": "convnet", "channels": [4], "batch_norm": {}, "dropout": {"drop": 0.2}},
    "epochs": 8,
    "devices": 2,
}


def free(devices: Devices) -> dict[str, int]:
    with devices.choice() as found:
        return dict(found)


def test_a_worker_without_gpus_has_as_many_processes_as_cores() -> None:
    devices = Devices(gpus=0, slots=1, cores=4)

    assert devices.most == {"auto": 4, "cpu": 4}
    assert devices.take("auto", 3) == ("cpu", "cpu", "cpu")
    assert free(devices) == {"auto": 0, "cpu": 0}
    devices.give_back(("cpu", "cpu", "cpu"))
    assert free(devices) == {"auto": 4, "cpu": 4}


def test_jobs_of_one_gpu_are_spread_and_share_when_there_are_more_slots() -> None:
    devices = Devices(gpus=2, slots=3, cores=4)

    taken = [devices.take("cuda", 1) for _ in range(2)]

    assert sorted(taken) == [("cuda:0",), ("cuda:1",)]
    assert free(devices) == {"auto": 1, "cuda": 1, "cpu": 4}
    devices.take("auto", 1)
    assert set(free(devices).values()) == {0}


def test_a_job_of_several_gpus_has_them_for_itself() -> None:
    devices = Devices(gpus=4, slots=4, cores=8)
    single = devices.take("cuda", 1)

    several = devices.take("cuda", 3)

    assert set(several).isdisjoint(single)
    assert free(devices) == {"auto": 0, "cuda": 0, "cpu": 8}
    devices.give_back(several)
    assert free(devices)["cuda"] == 3
    devices.give_back(single)
    assert free(devices)["cuda"] == 4


def test_a_job_on_the_cpu_takes_no_gpu() -> None:
    devices = Devices(gpus=1, slots=2, cores=2)

    assert devices.take("cpu", 2) == ("cpu", "cpu")
    assert free(devices) == {"auto": 1, "cuda": 1, "cpu": 2}


@pytest.fixture(scope="module")
def two_cores(migrated: Callable[[str], Template], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A plant whose worker may train with two processes."""
    folder = tmp_path_factory.mktemp("two_cores")
    with migrated("sqlite").copy(folder) as database_url:
        plant = Plant(folder, database_url, threads="2")
        yield plant
        plant.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The snapshots of the long spec, trained by the trainer alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run(written(folder, **LONG), "--out", folder / "out")
    assert done.returncode == 0, done.stderr
    return [path.read_bytes() for path in sorted((folder / "out").glob("snapshot-*"))]


@pytest.mark.parametrize("which", [0, 1])
def test_a_killed_process_of_two_costs_nothing(two_cores: Plant, undisturbed: list[bytes], which: int) -> None:
    shop = two_cores.shop
    job = shop.submit(**LONG)
    await_epoch(shop, job, 3)
    children = sorted(two_cores.worker.children())
    assert len(children) == 2

    os.kill(children[which], signal.SIGKILL)

    await_status(shop, job, Status.SUCCEEDED)
    assert kinds(shop, job).count("requeued") == 1
    assert files(shop, job) == undisturbed
    assert two_cores.worker.children() == []


def test_a_cancel_ends_both_processes(two_cores: Plant) -> None:
    job = two_cores.shop.submit(**LONG | {"epochs": 200})
    await_epoch(two_cores.shop, job, 2)

    two_cores.shop.act(wishes.cancel, job.id)

    await_status(two_cores.shop, job, Status.CANCELLED)
    await_true(lambda: two_cores.worker.children() == [], SECONDS)


def test_a_job_for_more_processes_than_cores_waits_for_another_worker(two_cores: Plant) -> None:
    large, small = two_cores.shop.submit(**LONG | {"devices": 3}), two_cores.shop.submit()

    await_status(two_cores.shop, small, Status.SUCCEEDED)

    assert status(two_cores.shop, large) is Status.QUEUED


def test_a_paused_job_of_two_devices_goes_on_to_the_same_bits(two_cores: Plant, undisturbed: list[bytes]) -> None:
    shop = two_cores.shop
    job = shop.submit(**LONG)
    await_epoch(shop, job, 3)

    shop.act(wishes.pause, job.id)
    await_status(shop, job, Status.PAUSED)
    shop.act(wishes.resume, job.id)

    await_status(shop, job, Status.SUCCEEDED)
    assert files(shop, job) == undisturbed


def test_what_the_third_of_three_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.team.NOTICE_SECONDS", 0.1)
    chosen, dataset = spec(devices=3), data.load("mnist5k")
    _, output = multiprocessing.Pipe()
    orders = [
        Order(
            task=TrainingTask(
                spec=chosen.model_dump_json(),
                data=Data(chosen.dataset, dataset.sha256 if rank < 2 else "of other data"),
                checkpoint=None,
                snapshots=(),
                checkpoint_seconds=60,
                report_seconds=1,
            ),
            device="cpu",
            rank=rank,
            count=3,
            meeting=tmp_path / "meeting",
            threads=1,
            resident_bytes=None,
            scratch=tmp_path,
        )
        for rank in range(3)
    ]

    team = Team(orders, output)
    while team.receive():
        pass
    _, failed = team.join()

    assert failed is not None
    assert (failed.failure_class, failed.code) == ("user", "data_invalid")


def test_specs_that_leave_new_fields_out_keep_their_hash() -> None:
    assert spec().sha256 == spec(devices=1, execution={}).sha256 != spec(devices=2).sha256
