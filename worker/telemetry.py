"""What Prometheus reads of a worker, served on a port of its own."""

import hmac
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from app import telemetry
from app.store import census
from app.store.claims import Claim
from app.store.engine import read
from app.store.states import Outcome, Status
from worker.memory import Used
from worker.station import Station

CLAIM_SECONDS = Histogram(
    "annealer_claim_seconds",
    "Time that looking for a job took, by whether there was one.",
    ("found",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=None,
)
ATTEMPTS = Counter(
    "annealer_attempts",
    "Attempts that were closed by this worker, by how they ended; those of other workers that it found lost included.",
    ("outcome",),
    registry=None,
)
RESCUES = Counter(
    "annealer_rescues",
    "Jobs whose worker was lost and that this worker put right, by what they became.",
    ("status",),
    registry=None,
)
HEARTBEAT = Gauge(
    "annealer_worker_last_heartbeat_timestamp_seconds",
    "When the database last took this worker's heartbeat, in Unix time.",
    registry=None,
)

for found in ("yes", "no"):
    CLAIM_SECONDS.labels(found)
for outcome in Outcome:
    ATTEMPTS.labels(outcome)
for status in (Status.QUEUED, Status.PAUSED, Status.FAILED, Status.CANCELLED):
    RESCUES.labels(status)


class CannotServe(Exception):
    """Figures cannot be served as the settings say; the message tells why."""


class Duty(Collector):
    """What a worker does just now, and what its devices have."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are known without asking anybody."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Slots and memory; while the database answers, images a second."""
        slots = GaugeMetricFamily("annealer_worker_slots", "Slots for jobs, by state.", labels=("state",))
        free = self._station.devices.free_slots
        slots.add_metric(("free",), free)
        slots.add_metric(("busy",), self._station.settings.slots - free)
        yield slots
        yield from _memory_families(self._station.memory.now())
        try:
            with read(self._station.engine) as session:
                speed = census.images_per_second(session, self._station.id)
        except SQLAlchemyError:
            return
        yield GaugeMetricFamily(
            "annealer_worker_images_per_second",
            "Images that this worker's jobs train a second, as last reported.",
            value=speed,
        )


def registry(station: Station) -> CollectorRegistry:
    """Everything that a worker shows."""
    return telemetry.registry(Duty(station), CLAIM_SECONDS, ATTEMPTS, RESCUES, HEARTBEAT)


def serve(station: Station) -> WSGIServer | None:
    """Answer Prometheus in the background, where the settings name a port. Raises `CannotServe`."""
    settings = station.settings
    if settings.metrics_port is None:
        return None
    app = make_wsgi_app(registry(station))
    if not _is_loopback(settings.metrics_host) and settings.metrics_token is None:
        raise CannotServe(
            f"ANNEALER_WORKER_METRICS_HOST is {settings.metrics_host}, which others can reach: "
            "set ANNEALER_WORKER_METRICS_TOKEN as well."
        )
    if settings.metrics_token:
        app = _guarded(app, settings.metrics_token.get_secret_value())
    try:
        server = make_server(settings.metrics_host, settings.metrics_port, app, _Server, _Handler)
    except OSError as error:
        raise CannotServe(
            f"Figures cannot be served at {settings.metrics_host}:{settings.metrics_port} ({error.strerror}): "
            "set another ANNEALER_WORKER_METRICS_PORT."
        ) from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def timed_claim(look: Callable[[], Claim | None]) -> Claim | None:
    """What `look` finds, with the time it took."""
    began = time.monotonic()
    claim = look()
    CLAIM_SECONDS.labels("yes" if claim else "no").observe(time.monotonic() - began)
    return claim


def _guarded(app: Callable[..., Any], token: str) -> Callable[..., Any]:
    expected = f"Bearer {token}".encode()

    def guard(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        given = environ.get("HTTP_AUTHORIZATION", "").encode("latin-1")
        if hmac.compare_digest(given, expected):
            answer: Iterable[bytes] = app(environ, start_response)
            return answer
        start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Length", "0")])
        return [b""]

    return guard


def _memory_families(memory: Used) -> Iterator[Metric]:
    used = GaugeMetricFamily(
        "annealer_memory_used_bytes",
        "Memory in use on a device, by whomever: cpu is the host, gpu0 the first of the driver's list.",
        labels=("device",),
    )
    whole = GaugeMetricFamily("annealer_memory_bytes", "Memory that a device has.", labels=("device",))
    for device, (taken, there) in memory.items():
        used.add_metric((device,), taken)
        whole.add_metric((device,), there)
    yield from (used, whole)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, *_: object) -> None:
        """A scrape is no news."""
