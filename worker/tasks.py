"""The Celery side: a message is a doorbell, the work is in SQL."""

import structlog
from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from app import queue
from app.store.engine import is_unavailable
from worker.execute import work
from worker.station import Station

log = structlog.get_logger()


def bind(celery: Celery, station: Station) -> None:
    """Answer the bell with whatever `station` can run.

    While the database is away nothing can be; the sweep rings again once it is back.
    """

    @celery.task(name=queue.TASK, shared=False)  # type: ignore[untyped-decorator]
    def answer(device: str) -> None:
        try:
            work(station)
        except SQLAlchemyError as error:
            if not is_unavailable(error):
                raise
            log.warning("database is away", error=type(error).__name__)
