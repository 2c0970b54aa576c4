"""`python -m trainer` on several devices: by itself, and under torchrun on two machines."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.test_command import COMMAND, run, written
from trainer import snapshot
from trainer.data import load

NETWORK = {"kind": "convnet", "channels": [3], "batch_norm": {}, "dropout": {"drop": 0.3}}


def spec_for_two(folder: Path, **changes: object) -> Path:
    return written(folder, network=NETWORK, devices=2, **changes)


def bits(folder: Path) -> list[bytes]:
    """Every snapshot's file."""
    return [path.read_bytes() for path in sorted(folder.glob("snapshot-*.safetensors"))]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run(spec_for_two(folder), "--out", folder / "out")
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_one_command_trains_on_two_devices(undisturbed: Path) -> None:
    _, provenance = snapshot.load(undisturbed / "snapshot-2.safetensors")

    assert provenance["environment"]["devices"] == "2"
    assert len(bits(undisturbed)) == 2


def test_both_stream_what_may_not_lie_on_their_devices(undisturbed: Path, tmp_path: Path) -> None:
    limit = load("mnist5k").train.images.nbytes - 1

    done = run(spec_for_two(tmp_path), "--out", tmp_path / "out", "--resident-bytes", limit)

    assert "streamed from the host: train images" in done.stdout.splitlines(), done.stderr
    assert bits(tmp_path / "out") == bits(undisturbed)


def test_two_machines_give_the_bits_of_one_with_two_devices(undisturbed: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "first", tmp_path / "second"]
    spec, port = spec_for_two(tmp_path), free_port()

    nodes = [torchrun(spec, port, out, "--nnodes", "2", "--node-rank", str(rank)) for rank, out in enumerate(outs)]

    for node in nodes:
        output, _ = node.communicate(timeout=60)
        assert node.returncode == 0, output
    assert bits(outs[0]) == bits(undisturbed)
    assert not outs[1].exists()


def test_torchrun_with_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    node = torchrun(spec_for_two(tmp_path), free_port(), tmp_path / "out")

    output, _ = node.communicate(timeout=60)

    assert node.returncode != 0
    assert "/devices: torchrun started 1 processes, and this asks for 2 devices" in output
    assert not (tmp_path / "out").exists()


def torchrun(spec: Path, port: int, out: Path, *options: str) -> "subprocess.Popen[str]":
    """As docs/trainer.md says, with loopback for a network."""
    command = [sys.executable, "-m", "torch.distributed.run", *options, "--nproc-per-node", "1"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port), "-m", "trainer"]
    command += [str(spec), "--out", str(out), "--threads", "1"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_a_training_that_lost_a_process_goes_on_from_its_checkpoint(undisturbed: Path, tmp_path: Path) -> None:
    spec, out = spec_for_two(tmp_path), tmp_path / "out"
    command = [*COMMAND, "--threads", "1", str(spec), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("epoch 2/"):
        assert process.poll() is None
    os.kill(follower_of(process.pid), signal.SIGKILL)

    _, complaint = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "Another process of this training is gone" in complaint
    done = run(spec, "--out", out, "--resume")

    assert done.returncode == 0, done.stderr
    assert bits(out) == bits(undisturbed)


def follower_of(pid: int) -> int:
    """The process that was started last; the one before keeps track of shared memory."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[-1])


def test_ctrl_c_stops_both_with_a_checkpoint(undisturbed: Path, tmp_path: Path) -> None:
    spec, out = spec_for_two(tmp_path), tmp_path / "out"
    command = [*COMMAND, "--threads", "1", str(spec), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("epoch 1/"):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 4

    done = run(spec, "--out", out, "--resume")

    assert done.returncode == 0, done.stderr
    assert bits(out) == bits(undisturbed)


def test_more_devices_than_there_are_are_refused(tmp_path: Path) -> None:
    done = run(written(tmp_path, devices=1000, batch_size=1000, last_batch="drop", device="cpu"), "--out", tmp_path)

    assert done.returncode == 2
    assert f"{tmp_path / 'spec.yaml'}:" in done.stderr
    assert "/devices: This asks for 1000 devices, and at most" in done.stderr
