"""The broker as a doorbell: a message says that there is work for a kind of device, and nothing more.

SQL holds the jobs. A bell that is lost is rung again by the sweep; one too many wakes a worker for a millisecond.
"""

import threading
import time
from typing import Any

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from app import telemetry

TASK = "annealer.work"
PUBLISH_SECONDS = 1.0
QUIET_SECONDS = 3.0
"""How long a broker that has just failed is left alone, because waiting for it costs a second each time."""

log = structlog.get_logger()


def name(device: str) -> str:
    """The queue of a spec's `device`."""
    return f"work.{device}"


def make(broker_url: str, *, publisher: bool) -> Celery:
    """A Celery app for one side: a publisher gives up quickly, a worker waits for its broker for ever."""
    # The worker's timeout is longer than the second for which kombu blocks in BRPOP.
    timeout = PUBLISH_SECONDS if publisher else 5.0
    app = Celery("annealer", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        # A bell is answered at once. Rescue is the sweep's; redelivery after a visibility timeout would ring
        # for every job that trains for longer.
        task_acks_late=False,
        # A bell in a busy worker's pocket would not be heard by an idle one.
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=True,
        task_send_sent_event=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_publish_retry_policy={
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0,
            "interval_max": 0,
        },
        broker_transport_options={
            "socket_connect_timeout": PUBLISH_SECONDS,
            "socket_timeout": timeout,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return app


class Bell:
    """Rings for workers. Never raises: a job that no bell was rung for is found by the sweep."""

    def __init__(self, broker_url: str) -> None:
        self._app = make(broker_url, publisher=True)
        self._broker = Redis.from_url(
            broker_url, socket_connect_timeout=PUBLISH_SECONDS, socket_timeout=PUBLISH_SECONDS
        )
        self._quiet_until = 0.0
        self._lock = threading.Lock()
        self.failures = 0

    def ring(self, device: str) -> bool:
        """Tell one worker that there is work; whether the broker took the message."""
        if time.monotonic() < self._quiet_until:
            return False
        try:
            self._app.send_task(TASK, args=[device], queue=name(device))
        except (OperationalError, OSError) as error:
            self._remember(error)
            return False
        return True

    def unheard(self, device: str) -> int:
        """How many bells are about that nobody has heard yet; none where the broker is away."""
        if time.monotonic() < self._quiet_until:
            return 0
        try:
            # Of Celery's queues in Redis each is a list of its name.
            return int(self._broker.llen(name(device)))
        except (RedisError, OSError) as error:
            self._remember(error)
            return 0

    def answers(self) -> bool:
        """Whether the broker is there."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=PUBLISH_SECONDS)
        except (OperationalError, OSError):
            return False
        return True

    def _remember(self, error: Exception) -> None:
        with self._lock:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            self.failures += 1
        telemetry.PUBLISH_FAILURES.inc()
        details: dict[str, Any] = {"failures": self.failures, "error": type(error).__name__}
        log.warning("broker is away; the sweep will ring", **details)
