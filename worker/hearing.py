"""A worker hears the bell while it may take jobs: one that it would not answer is for another to hear."""

from typing import Any

from celery import bootsteps
from celery.worker.consumer.tasks import Tasks

from app import queue
from worker.station import Station

LOOK_SECONDS = 0.2


def step(station: Station) -> type[bootsteps.StartStopStep]:
    """A part of Celery's consumer, which starts anew with every connection to the broker."""

    class Hearing(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = (Tasks,)

        def start(self, consumer: Any) -> None:
            # In the consumer's own thread, which alone may touch its connection.
            self._timer = consumer.timer.call_repeatedly(LOOK_SECONDS, hear, (consumer, station))

        def stop(self, consumer: Any) -> None:
            self._timer.cancel()

    return Hearing


def hear(consumer: Any, station: Station) -> None:
    """Take bells from the queues of a worker's devices, or leave them there while an operator lets it rest."""
    is_wanted = not station.resting.is_set()
    for name in map(queue.name, station.devices.most):
        is_heard = consumer.task_consumer.consuming_from(name)
        if is_wanted and not is_heard:
            consumer.add_task_queue(name)
        elif is_heard and not is_wanted:
            consumer.cancel_task_queue(name)
