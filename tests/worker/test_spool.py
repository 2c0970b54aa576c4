"""What waits for the database: in order, bounded, most of it not in memory."""

import threading
import time
from pathlib import Path

import pytest

from trainer.events import PhaseStarted, StepsFinished
from worker import spool
from worker.spool import Spool
from worker.wire import Message, encode


def step(number: int) -> bytes:
    return encode(Message(StepsFinished(1, number, (0.5,), (0.1,), 10.0)))


def numbers(messages: list[Message] | None) -> list[int]:
    assert messages is not None
    return [message.event.first_step for message in messages if isinstance(message.event, StepsFinished)]


@pytest.fixture(autouse=True)
def _small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MOST_IN_MEMORY", 3)


def test_messages_come_out_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    """Through memory and file, with more put in between."""
    queue, taken = Spool(tmp_path, 10**6), []
    for number in range(1, 11):
        queue.put(step(number))
    assert (tmp_path / "spool").stat().st_size > 0
    taken += numbers(queue.take(5))
    for number in range(11, 14):
        queue.put(step(number))
    queue.end()
    while (found := queue.take(5)) is not None:
        taken += numbers(found)

    assert taken == list(range(1, 14))
    assert (tmp_path / "spool").stat().st_size == 0
    queue.close()


def test_nothing_comes_for_a_while(tmp_path: Path) -> None:
    queue = Spool(tmp_path, 10**6)

    assert queue.take(5, timeout=0.01) == []
    queue.close()


def test_a_full_spool_lets_the_training_wait_until_something_is_stored(tmp_path: Path) -> None:
    queue = Spool(tmp_path, 100)
    queue.put(step(1))
    assert queue.is_full
    waiting = threading.Thread(target=queue.put, args=(step(2),))
    waiting.start()
    assert numbers(queue.take(5)) == [1]
    time.sleep(0.05)
    assert waiting.is_alive()

    queue.stored(1)
    waiting.join(5)

    assert numbers(queue.take(5)) == [2]
    queue.close()


def test_a_message_counts_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(5000))
    queue = Spool(tmp_path, 5000)
    queue.put(encode(Message(PhaseStarted("training"))))
    assert not queue.is_full

    queue.put(encode(Message(StepsFinished(1, 1, (), (), 1.0), "weights")))

    assert queue.is_full
    queue.close()


def test_who_waits_for_room_is_let_go_at_the_end(tmp_path: Path) -> None:
    queue = Spool(tmp_path, 10)
    queue.put(step(1))
    waiting = threading.Thread(target=queue.put, args=(step(2),))
    waiting.start()

    queue.close()

    waiting.join(5)
    assert not waiting.is_alive()
