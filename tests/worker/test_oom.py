"""Which death the kernel's counter explains."""

from pathlib import Path

import pytest

from worker import oom
from worker.oom import Blame


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "memory.events"
    monkeypatch.setattr(oom, "EVENTS", path)
    path.write_text("oom 0\noom_kill 0\n")
    return path


def test_one_kill_explains_one_death(counter: Path) -> None:
    blame = Blame()
    counter.write_text("oom 1\noom_kill 1\n")

    assert blame.takes_one(since=0)
    assert not blame.takes_one(since=0)


def test_two_kills_explain_two_deaths(counter: Path) -> None:
    blame = Blame()
    counter.write_text("oom 1\noom_kill 2\n")

    assert blame.takes_one(since=0)
    assert blame.takes_one(since=0)
    assert not blame.takes_one(since=0)


def test_a_kill_before_a_training_began_does_not_explain_its_death(counter: Path) -> None:
    counter.write_text("oom 1\noom_kill 1\n")

    assert not Blame().takes_one(since=1)


def test_nobody_is_blamed_where_nobody_counts(counter: Path) -> None:
    counter.unlink()

    assert oom.out_of_memory_kills() == 0
    assert not Blame().takes_one(since=0)
