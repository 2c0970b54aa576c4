"""`annealer up` and `annealer demo`: start, stop, side by side, and what stands in their way."""

import os
import signal
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml

from app.client import Client
from tests.cli.conftest import ANNEALER, Run, Up
from tests.servers import await_true
from tests.specs import document


def members(pid: int) -> set[int]:
    """The process and all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {pid}.union(*(members(int(child)) for child in children))


def test_up_serves_stops_with_ctrl_c_and_goes_on_where_it_was(tmp_path: Path) -> None:
    first = Up(tmp_path)
    with Client(first.url) as client:
        job = client.submit(document(network={"kind": "convnet", "channels": [8]}, epochs=100))
        await_true(lambda: client.job(job.id).progress.epoch >= 3, 60)
    started = members(first.pid)
    assert len(started) >= 5

    first.signal(signal.SIGINT)
    assert first.wait(30) == 0

    await_true(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), 5)
    with Up(tmp_path) as second, Client(second.url) as client:
        await_true(lambda: client.job(job.id).attempt == 2, 30)
        kinds = [event.kind for event in client.events(job.id)]
        assert {"released", "resumed"} <= set(kinds)


def test_nothing_outlives_a_killed_up(tmp_path: Path) -> None:
    up = Up(tmp_path)
    started = members(up.pid)

    up.kill()

    await_true(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), 30)


@pytest.mark.parametrize("part", ["api", "worker", "prediction", "valkey"])
def test_a_part_that_dies_is_started_again(tmp_path: Path, part: str) -> None:
    marks = {
        "api": b"-m\0app\0",
        "worker": b"-m\0worker\0",
        "prediction": b"-m\0worker.prediction\0",
        "valkey": b"valkey-server",
    }
    with Up(tmp_path) as up, Client(up.url) as client:
        (victim,) = (
            pid for pid in members(up.pid) - {up.pid} if marks[part] in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        os.kill(victim, signal.SIGKILL)
        await_true(lambda: f"{part} ended unexpectedly" in up.log.read_text(), 10)

        job = client.submit(document(epochs=2))
        *_, last = client.watch(job.id)

    assert last.status == "succeeded"


def test_a_second_up_in_the_same_folder_names_the_first(annealer: Run, up: Up) -> None:
    done = annealer("up", "--data", up.folder, "--port", up.port)

    assert done.returncode == 6
    assert f"running in {up.folder} already at {up.url} (process {up.pid})" in done.stderr


def test_a_port_that_is_taken_is_said_before_anything_starts(annealer: Run, up: Up, tmp_path: Path) -> None:
    done = annealer("up", "--data", tmp_path / "other", "--port", up.port)

    assert done.returncode == 6
    assert f"Port {up.port} cannot be used" in done.stderr
    assert "--port" in done.stderr
    assert not (tmp_path / "other" / "annealer.sqlite").exists()


def test_the_service_listens_on_this_machine_only(up: Up) -> None:
    listening = subprocess.run(["cat", "/proc/net/tcp"], capture_output=True, text=True, check=True).stdout
    port = f":{up.port:04X}"

    addresses = {line.split()[1] for line in listening.splitlines() if port in line and line.split()[3] == "0A"}
    assert addresses == {f"0100007F{port}"}


def test_the_demo_trains_beside_a_running_service_and_shows_the_result(up: Up, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(document()))

    for _ in range(2):
        done = subprocess.run(
            [*ANNEALER, "demo", str(spec)], capture_output=True, text=True, timeout=90, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "4/4" in done.stdout
        assert "last model alone" in done.stdout
        assert "Everything is in demo-data/" in done.stdout
        assert all(f"annealer {command} " in done.stdout for command in ("up", "snapshots", "validate"))
    assert httpx.get(f"{up.url}/healthz").is_success


def test_a_demo_takes_another_folder_while_the_first_is_in_use(up: Up, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(document(epochs=2)))
    command = [*ANNEALER, "demo", str(spec), "--data", str(up.folder)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=tmp_path, check=False)

    assert done.returncode == 0, done.stderr
    assert f"Everything is in {up.folder}-2/" in done.stdout


def test_a_demo_whose_job_fails_says_so_with_its_exit_code(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    schedule = {"kind": "constant", "learning_rate": 1000}
    momentum = {"kind": "sgd", "momentum": {"form": "classical", "m": 0.99}}
    spec.write_text(yaml.safe_dump(document(schedule=schedule, optimizer=momentum, ensemble={"kind": "none"})))

    done = subprocess.run(
        [*ANNEALER, "demo", str(spec)], capture_output=True, text=True, timeout=90, cwd=tmp_path, check=False
    )

    assert done.returncode == 3
    assert "The loss became" in done.stdout


def test_a_client_that_waits_survives_a_restart(tmp_path: Path) -> None:
    with Up(tmp_path) as first:
        port = first.port
        with Client(first.url) as client:
            job = client.submit(document(network={"kind": "convnet", "channels": [8]}, epochs=40))
            waiting = subprocess.Popen(
                [*ANNEALER, "watch", job.id, "--url", first.url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            await_true(lambda: client.job(job.id).progress.epoch >= 2, 60)
        first.signal(signal.SIGINT)
        assert first.wait(30) == 0
    with Up(tmp_path, port):
        output, _ = waiting.communicate(timeout=90)
    assert waiting.returncode == 0, output
