"""The Celery side: a message is a doorbell, the work is in SQL."""

from celery import Celery

from app import queue
from worker.execute import work
from worker.station import Station


def bind(celery: Celery, station: Station) -> None:
    """Answer the bell with whatever `station` can run."""

    @celery.task(name=queue.TASK, shared=False)  # type: ignore[untyped-decorator]
    def answer(device: str) -> None:
        work(station)
