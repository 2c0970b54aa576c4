"""What Prometheus reads of a process: names, labels and help texts, all of bounded number.

What the database knows is read when it is asked for. What only the process knows is counted here as it happens.
"""

from collections.abc import Iterator
from time import monotonic
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

from app import __version__
from app.store import census
from app.store.engine import read

CONTENT_TYPE = CONTENT_TYPE_LATEST
DEVICES = ("auto", "cpu", "cuda")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = NO_ANSWER = NO_PROBLEM = "none"

# When a counter was made: a series more for each, which no rule here asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

HTTP_REQUESTS = Counter(
    "annealer_http_requests",
    "Requests that were answered, by route template, method and class of status.",
    ("route", "method", "status"),
    registry=None,
)
HTTP_SECONDS = Histogram(
    "annealer_http_response_start_seconds",
    "Time from a request to the start of its answer; clients may ask to wait for changes.",
    ("route", "method"),
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
    registry=None,
)
PREDICTION_SECONDS = Histogram(
    "annealer_prediction_seconds",
    "Time from a question to prediction workers until its answer, by what was wrong: none where it was answered.",
    ("problem",),
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30),
    registry=None,
)
PREDICTED_IMAGES = Counter(
    "annealer_predicted_images",
    "Images that were predicted.",
    registry=None,
)
PREDICTIONS_REFUSED = Counter(
    "annealer_predictions_refused",
    "Requests for predictions that were not taken because too many waited.",
    registry=None,
)
PREDICTIONS_HELD = Gauge(
    "annealer_predictions_held",
    "Requests for predictions that are being read or answered.",
    registry=None,
)
PREDICTIONS = (PREDICTION_SECONDS, PREDICTED_IMAGES, PREDICTIONS_REFUSED, PREDICTIONS_HELD)
STORE_SECONDS = Histogram(
    "annealer_store_transaction_seconds",
    "Time from the begin of a database transaction until it is committed or rolled back, waiting for locks included.",
    ("kind",),
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=None,
)
PUBLISH_FAILURES = Counter(
    "annealer_bell_publish_failures",
    "Bells that the broker did not take; the sweep rings again.",
    registry=None,
)

for kind in ("read", "write"):
    STORE_SECONDS.labels(kind)
PREDICTION_SECONDS.labels(NO_PROBLEM)


class Stock(Collector):
    """What the database knows of jobs, queues and workers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are known without asking the database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All of it, or only that the database is away."""
        up = GaugeMetricFamily("annealer_database_up", "Whether the database answers, 1 or 0.")
        try:
            with read(self._engine) as session:
                found = census.take(session)
        except SQLAlchemyError:
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        yield up
        yield from _families(found)


class Build(Collector):
    """Which version this is."""

    def collect(self) -> Iterator[Metric]:
        """Always 1."""
        yield InfoMetricFamily("annealer_build", "Version of this program.", value={"version": __version__})


def registry(*collectors: Collector) -> CollectorRegistry:
    """What a process shows: `collectors`, its version, and what the operating system says of it."""
    made = CollectorRegistry(auto_describe=False)
    for collector in (*collectors, Build(), STORE_SECONDS, PUBLISH_FAILURES):
        made.register(collector)
    ProcessCollector(registry=made)
    GCCollector(registry=made)
    return made


def text(registry: CollectorRegistry) -> bytes:
    """Everything, in Prometheus' text format."""
    return generate_latest(registry)


def count_request(route: str | None, method: str, status: int, seconds: float) -> None:
    """Count a request by its route's template; status 0 where the client was gone before the answer."""
    method = method if method in METHODS else "other"
    route = route or NO_ROUTE
    HTTP_REQUESTS.labels(route, method, f"{status // 100}xx" if status else NO_ANSWER).inc()
    if status:
        HTTP_SECONDS.labels(route, method).observe(seconds)


def observe(engine: Engine) -> None:
    """Measure every transaction of an engine."""

    # First of all listeners: the one that takes SQLite's write lock waits for it.
    @event.listens_for(engine, "begin", insert=True)
    def begin(connection: Connection) -> None:
        connection.info["began"] = monotonic()

    @event.listens_for(engine, "commit")
    @event.listens_for(engine, "rollback")
    def end(connection: Connection) -> None:
        if connection.invalidated:
            return
        began: Any = connection.info.pop("began", None)
        if began is not None:
            kind = "write" if connection.get_execution_options().get("immediate") else "read"
            STORE_SECONDS.labels(kind).observe(monotonic() - began)


def _families(found: census.Census) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("annealer_jobs", "Jobs, by what they do and status.", labels=("kind", "status"))
    for named, count in found.jobs.items():
        jobs.add_metric(named, count)
    yield jobs
    waiting = GaugeMetricFamily(
        "annealer_queue_jobs",
        "Jobs of every kind that wait, by the device that their spec asks for.",
        labels=("device",),
    )
    oldest = GaugeMetricFamily(
        "annealer_queue_oldest_age_seconds",
        "How long the first of the waiting jobs has waited; 0 where none does.",
        labels=("device",),
    )
    for device in DEVICES:
        queue = found.queues.get(device, census.Queue(0, 0.0))
        waiting.add_metric((device,), queue.jobs)
        oldest.add_metric((device,), queue.oldest_seconds)
    yield from (waiting, oldest)
    workers = GaugeMetricFamily(
        "annealer_workers",
        "Workers, by kind of device and whether their heartbeat is fresh.",
        labels=("device", "state"),
    )
    heartbeat = GaugeMetricFamily(
        "annealer_newest_heartbeat_age_seconds",
        "Time since any worker of a kind of device was heard of.",
        labels=("device",),
    )
    for device, crew in found.crews.items():
        workers.add_metric((device, "alive"), crew.alive)
        workers.add_metric((device, "silent"), crew.silent)
        heartbeat.add_metric((device,), crew.newest_heartbeat_seconds)
    yield from (workers, heartbeat)
    yield GaugeMetricFamily(
        "annealer_training_images_per_second",
        "Images that all running jobs train a second, as last reported.",
        value=found.images_per_second,
    )
