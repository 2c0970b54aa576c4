"""Children, and what they start."""

import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from tests.faults.system import is_running
from tests.servers import await_true
from worker.forkserver import CONTEXT, Child


def start_another_and_end(connection: Connection) -> None:
    """A child of which another process, in its group and with its pipe, is left."""
    os.setpgid(0, 0)
    another = os.fork()
    if another == 0:
        time.sleep(60)
    connection.send_bytes(str(another).encode())
    os._exit(3)


@pytest.fixture
def child() -> Iterator[Child]:
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=start_another_and_end, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    child = Child(process, ours)
    yield child
    child.kill()


def test_a_child_that_has_ended_says_nothing_more_though_another_holds_its_pipe(child: Child) -> None:
    assert child.receive() is not None
    assert child.receive() is None


@pytest.mark.parametrize("end", [Child.kill, Child.join])
def test_what_a_child_has_started_ends_with_it(child: Child, end: object) -> None:
    said = child.receive()
    assert said is not None
    child.wait(10)
    assert is_running(int(said))

    assert callable(end)
    end(child)

    await_true(lambda: not is_running(int(said)), 5)
    assert child.join() == 3


def test_a_number_that_may_be_anothers_is_not_signalled(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    child.join()
    signalled: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda pid, _: signalled.append(pid))
    monkeypatch.setattr(os, "kill", lambda pid, _: signalled.append(pid))

    child.kill()

    assert signalled == []
