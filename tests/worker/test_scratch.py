"""Scratch folders tell which worker of the machine is gone."""

import subprocess
import sys
from pathlib import Path

from tests.servers import await_true
from worker import scratch

HOLD = "import sys, time, pathlib; from worker import scratch; scratch.take(pathlib.Path(sys.argv[1])); time.sleep(60)"


def test_only_the_folder_of_a_worker_that_is_gone_is_abandoned(tmp_path: Path) -> None:
    neighbours = [
        subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "work" / name)]) for name in ("dead", "alive")
    ]
    await_true(lambda: all((tmp_path / "work" / name).exists() for name in ("dead", "alive")), 20)
    (tmp_path / "work" / "dead" / "file").touch()
    assert list(scratch.abandoned(tmp_path / "work")) == []

    neighbours[0].kill()
    neighbours[0].wait()

    assert list(scratch.abandoned(tmp_path / "work")) == ["dead"]
    assert [folder.name for folder in (tmp_path / "work").iterdir()] == ["alive"]
    neighbours[1].kill()
    neighbours[1].wait()


def test_a_folder_stays_until_its_jobs_have_been_seen_to(tmp_path: Path) -> None:
    (tmp_path / "dead").mkdir()

    for _ in scratch.abandoned(tmp_path):
        break

    assert list(scratch.abandoned(tmp_path)) == ["dead"]
    assert list(tmp_path.iterdir()) == []
