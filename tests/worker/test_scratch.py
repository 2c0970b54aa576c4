"""Scratch folders tell which worker of the machine is gone."""

import subprocess
import sys
from pathlib import Path

from tests.servers import await_true
from worker import scratch

HOLD = "import sys, time, pathlib; from worker import scratch; scratch.take(pathlib.Path(sys.argv[1])); time.sleep(60)"


def test_only_the_folder_of_a_worker_that_is_gone_is_abandoned(tmp_path: Path) -> None:
    neighbours = [
        subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "work" / name)])
        for name in ("work_dead", "work_alive")
    ]
    await_true(lambda: all((tmp_path / "work" / name).exists() for name in ("work_dead", "work_alive")), 20)
    (tmp_path / "work" / "work_dead" / "file").touch()
    assert list(scratch.abandoned(tmp_path / "work")) == []

    neighbours[0].kill()
    neighbours[0].wait()

    assert list(scratch.abandoned(tmp_path / "work")) == ["work_dead"]
    assert [folder.name for folder in (tmp_path / "work").iterdir()] == ["work_alive"]
    neighbours[1].kill()
    neighbours[1].wait()


def test_a_folder_stays_until_its_jobs_have_been_seen_to(tmp_path: Path) -> None:
    (tmp_path / "work_dead").mkdir()

    for _ in scratch.abandoned(tmp_path):
        break

    assert list(scratch.abandoned(tmp_path)) == ["work_dead"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_workers_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "lost+found").mkdir(mode=0o000)

    assert list(scratch.abandoned(tmp_path)) == []
    assert len(list(tmp_path.iterdir())) == 2
