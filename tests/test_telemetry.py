"""What Prometheus reads: names by the official rules, few labels, true figures; alerts and dashboard name what is."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, update

from app import telemetry
from app.embedded import free_port
from app.queue import Bell
from app.store import attempts, census, jobs, workers
from app.store import engine as engines
from app.store.clock import ago
from app.store.models import Job, Worker
from app.store.reports import Progress
from tests import servers
from tests.servers import await_true
from tests.shop import ONE, Shop
from tests.specs import document
from worker.machine import Machine
from worker.memory import Gpus, host_memory
from worker.settings import WorkerSettings
from worker.station import Station
from worker.telemetry import CannotServe, registry, serve

OPERATIONS = Path(__file__).parent.parent / "docs" / "operations"

# https://prometheus.io/docs/practices/naming/: base units, plural, as suffixes.
UNITS = ("seconds", "bytes", "per_second")
UNITS_THAT_ARE_NOT_BASE = ("milliseconds", "ms", "minutes", "hours", "days", "kilobytes", "megabytes", "percent")
# What the client library itself says of the process.
THEIRS = ("process_", "python_")

MACHINE = Machine((), 1, {"cpu": ("float32",)})


@pytest.fixture
def shop(engine: Engine) -> Shop:
    """The store on a database of a test's own."""
    return Shop(engine)


@pytest.fixture
def station(engine: Engine) -> Station:
    """A worker's station without a worker."""
    return Station(engine, Bell("redis://127.0.0.1:1/0"), WorkerSettings(), MACHINE)


def parsed(text: bytes | str) -> dict[str, Metric]:
    content = text.decode() if isinstance(text, bytes) else text
    return {family.name: family for family in text_string_to_metric_families(content)}


def values(families: dict[str, Metric], name: str) -> dict[tuple[str, ...], float]:
    """Samples of one name by their labels' values, in the order of the labels' names."""
    found = [sample for family in families.values() for sample in family.samples if sample.name == name]
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in found}


def beat(shop: Shop, worker_id: str) -> None:
    """Say that a worker lives."""
    who = {"id": worker_id, "host": worker_id, "pid": 1, "device": "cpu", "slots": 1, "version": "1"}
    shop.act(lambda session: workers.beat(session, **who, offers={}))


def api_registry(engine: Engine) -> CollectorRegistry:
    collectors = (telemetry.HTTP_REQUESTS, telemetry.HTTP_SECONDS, *telemetry.PREDICTIONS)
    return telemetry.registry(telemetry.Stock(engine), *collectors)


def shown(engine: Engine) -> dict[str, Metric]:
    return parsed(telemetry.text(api_registry(engine)))


@pytest.fixture
def everything(shop: Shop, station: Station, monkeypatch: pytest.MonkeyPatch) -> dict[str, Metric]:
    """All families of an API and a worker that have seen something."""
    telemetry.count_request("/v1/jobs", "GET", 200, 0.01)
    beat(shop, "w")
    return shown(shop.engine) | parsed(telemetry.text(registry(station)))


def test_names_and_help_texts_keep_the_rules(everything: dict[str, Metric]) -> None:
    ours = [family for family in everything.values() if not family.name.startswith(THEIRS)]
    assert len(ours) > 15
    for family in ours:
        name = family.name
        assert re.fullmatch(r"annealer_[a-z][a-z_]*[a-z]", name), name
        words = name.split("_")
        assert not set(words) & set(UNITS_THAT_ARE_NOT_BASE), name
        assert not set(words) & {"gauge", "counter", "histogram", "metric"}, name
        assert family.documentation.endswith("."), name
        assert family.documentation[0].isupper(), name
        assert not re.search(r"\b(milli|in %)", family.documentation), name
        # The type says what it is; reserved suffixes belong to the types that make them.
        assert not name.endswith(("_total", "_count", "_sum", "_bucket")), name
        if family.type == "counter":
            assert {sample.name for sample in family.samples} <= {f"{name}_total", f"{name}_created"}
        if family.type == "histogram":
            assert name.endswith("_seconds"), name
        unit = next((unit for unit in UNITS if name.endswith(unit)), None)
        if unit is None:
            assert not set(words) & {"seconds", "bytes"}, name
        for sample in family.samples:
            labels = set(sample.labels) - {"le"}
            assert all(re.fullmatch(r"[a-z]+", label) for label in labels), name
            # A label is not said again in the name.
            assert not labels & set(words), (name, labels)


def test_labels_have_few_values_whatever_is_done(shop: Shop) -> None:
    for number in range(5):
        telemetry.count_request(None, f"BREW{number}", 404, 0.1)
        shop.submit(name=f"job {number}")
        beat(shop, f"w{number}")

    found = shown(shop.engine)

    assert values(found, "annealer_http_requests_total")[("other", "none", "4xx")] >= 5
    assert not any("BREW" in method for method, _, _ in values(found, "annealer_http_requests_total"))
    assert values(found, "annealer_workers") == {("cpu", "alive"): 5, ("cpu", "silent"): 0}


def test_jobs_and_queues_are_counted_with_their_age(shop: Shop) -> None:
    for device in ("auto", "auto", "cpu"):
        shop.submit(device=device)
    claim = shop.claim(offers={"cpu": ONE})
    assert claim is not None
    shop.record(claim, progress=Progress(1, 10, 1234.5))

    found = shown(shop.engine)

    assert values(found, "annealer_jobs")[("training", "queued")] == 2
    assert values(found, "annealer_jobs")[("training", "running")] == 1
    assert values(found, "annealer_jobs")[("import", "failed")] == 0
    assert sum(values(found, "annealer_jobs").values()) == 3
    assert values(found, "annealer_queue_jobs") == {("auto",): 2, ("cpu",): 0, ("cuda",): 0}
    ages = values(found, "annealer_queue_oldest_age_seconds")
    assert 0 <= ages[("auto",)] < 60
    assert ages[("cpu",)] == 0
    assert values(found, "annealer_training_images_per_second") == {(): 1234.5}
    assert values(found, "annealer_database_up") == {(): 1}


def test_a_job_that_waits_again_is_as_old_as_its_new_wait(shop: Shop) -> None:
    claim = shop.claimed()
    with engines.write(shop.engine) as session:
        long_ago = jobs.get(session, claim.job_id).created_at.replace(year=2000)
        session.execute(update(Job).values(created_at=long_ago))
    shop.act(attempts.release, claim.job_id, claim.attempt)

    with shop.look() as session:
        queue = census.take(session).queues["auto"]

    assert queue.jobs == 1
    assert queue.oldest_seconds < 60


def test_a_worker_that_is_silent_is_counted_as_such(shop: Shop) -> None:
    beat(shop, "w")
    with engines.write(shop.engine) as session:
        session.execute(update(Worker).values(heartbeat_at=ago(100.0)))

    found = shown(shop.engine)

    assert values(found, "annealer_workers") == {("cpu", "alive"): 0, ("cpu", "silent"): 1}
    assert 99 < values(found, "annealer_newest_heartbeat_age_seconds")[("cpu",)] < 160


def test_transactions_are_measured_by_kind(engine: Engine) -> None:
    telemetry.observe(engine)

    def counts() -> dict[tuple[str, ...], float]:
        return values(shown(engine), "annealer_store_transaction_seconds_count")

    before = counts()
    with engines.write(engine):
        pass
    shop = Shop(engine)
    shop.submit()
    after = counts()

    assert after[("write",)] == before[("write",)] + 1
    assert after[("read",)] > before[("read",)]


def test_bells_that_nobody_took_are_counted(sqlite_url: str) -> None:
    engine = engines.create(sqlite_url)
    before = values(shown(engine), "annealer_bell_publish_failures_total")[()]

    Bell("redis://127.0.0.1:1/0").ring("auto")

    assert values(shown(engine), "annealer_bell_publish_failures_total")[()] == before + 1
    engine.dispose()


def test_without_a_database_the_rest_is_told(tmp_path: Path) -> None:
    engine = engines.create("postgresql+psycopg://nobody@127.0.0.1:1/none")

    found = shown(engine)

    assert values(found, "annealer_database_up") == {(): 0}
    assert "annealer_jobs" not in found
    assert list(values(found, "annealer_build_info").values()) == [1]


@pytest.fixture
def api(sqlite_url: str, broker_url: str, tmp_path: Path) -> Iterator[servers.Api]:
    """A server of a test's own."""
    with servers.Api(tmp_path, sqlite_url, broker_url) as running:
        yield running


def test_the_api_and_the_worker_serve_their_figures(
    api: servers.Api, sqlite_url: str, broker_url: str, tmp_path: Path
) -> None:
    port = free_port()
    with servers.Worker(tmp_path, sqlite_url, broker_url, metrics_port=str(port)) as worker:
        worker.await_ready()
        job_id = httpx.post(f"{api.url}/v1/jobs", json=document(epochs=2)).json()["id"]
        await_true(lambda: httpx.get(f"{api.url}/v1/jobs/{job_id}").json()["status"] == "succeeded", 30)
        httpx.get(f"{api.url}/v1/jobs/job_none")
        served = httpx.get(f"{api.url}/metrics")
        await_true(lambda: 'attempts_total{outcome="succeeded"} 1' in httpx.get(f"http://127.0.0.1:{port}").text, 5)
        workers_own = parsed(httpx.get(f"http://127.0.0.1:{port}/metrics").text)

    assert served.headers["Content-Type"].startswith("text/plain; version=")
    ours = parsed(served.text)
    assert values(ours, "annealer_jobs")[("training", "succeeded")] == 1
    requests = values(ours, "annealer_http_requests_total")
    assert requests[("POST", "/v1/jobs", "2xx")] == 1
    assert requests[("GET", "/v1/jobs/{job_id}", "4xx")] == 1
    assert values(ours, "annealer_workers")[("cpu", "alive")] == 1
    assert values(workers_own, "annealer_claim_seconds_count")[("yes",)] == 1
    assert values(workers_own, "annealer_worker_slots") == {("free",): 1, ("busy",): 0}
    assert values(workers_own, "annealer_worker_last_heartbeat_timestamp_seconds")[()] > 1.7e9
    assert values(workers_own, "annealer_memory_bytes")[("cpu",)] > 2**28
    assert "process_resident_memory_bytes" in workers_own


def test_a_rescue_is_counted_by_the_worker_that_did_it(sqlite_url: str, broker_url: str, tmp_path: Path) -> None:
    engine = engines.create(sqlite_url)
    Shop(engine).claimed(lease=-1.0)
    port = free_port()
    with servers.Worker(tmp_path, sqlite_url, broker_url, metrics_port=str(port)) as worker:
        worker.await_ready()
        await_true(lambda: 'rescues_total{status="queued"} 1' in httpx.get(f"http://127.0.0.1:{port}").text, 30)
        found = parsed(httpx.get(f"http://127.0.0.1:{port}").text)
    engine.dispose()

    assert values(found, "annealer_attempts_total")[("lost",)] == 1


def test_beyond_loopback_a_workers_figures_need_a_token(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNEALER_WORKER_METRICS_HOST", "0.0.0.0")
    monkeypatch.setenv("ANNEALER_WORKER_METRICS_PORT", str(free_port()))
    bell = Bell("redis://127.0.0.1:1/0")
    with pytest.raises(CannotServe, match="set ANNEALER_WORKER_METRICS_TOKEN"):
        serve(Station(engine, bell, WorkerSettings(), MACHINE))

    monkeypatch.setenv("ANNEALER_WORKER_METRICS_TOKEN", "a-token-of-enough-letters")
    settings = WorkerSettings()
    server = serve(Station(engine, bell, settings, MACHINE))
    assert server is not None
    url = f"http://127.0.0.1:{settings.metrics_port}/metrics"
    try:
        answers = [
            httpx.get(url, headers={"Authorization": given} if given else {}).status_code
            for given in ("", "Bearer wrong", "Bearer a-token-of-enough-letters")
        ]
    finally:
        server.shutdown()
        server.server_close()

    assert answers == [401, 401, 200]


def test_a_port_that_is_taken_is_said_with_its_setting(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNEALER_WORKER_METRICS_PORT", str(free_port()))
    station = Station(engine, Bell("redis://127.0.0.1:1/0"), WorkerSettings(), MACHINE)
    server = serve(station)
    assert server is not None

    with pytest.raises(CannotServe, match="set another ANNEALER_WORKER_METRICS_PORT"):
        serve(station)

    server.shutdown()
    server.server_close()


def test_memory_of_gpus_is_what_the_drivers_tool_says(tmp_path: Path) -> None:
    tool = tmp_path / "smi"
    tool.write_text("#!/bin/sh\necho '0, 1024, 81559'\necho '1, 7, 81559'\n")
    tool.chmod(0o755)

    assert Gpus([str(tool)]).memory() == {"gpu0": (1024 * 2**20, 81559 * 2**20), "gpu1": (7 * 2**20, 81559 * 2**20)}
    assert Gpus([str(tmp_path / "none")]).memory() == {}


def test_memory_of_the_host_is_what_the_kernel_says(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:  100 kB\nMemFree:  10 kB\nMemAvailable:  40 kB\n")

    assert host_memory(file) == {"cpu": (60 * 1024, 100 * 1024)}
    assert host_memory(tmp_path / "none") == {}


def _named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:annealer|process)_[a-z_]+\b", expression))


def _samples(families: dict[str, Metric]) -> set[str]:
    return {sample.name for family in families.values() for sample in family.samples}


def test_every_metric_that_the_alerts_name_is_there(everything: dict[str, Metric]) -> None:
    rules: dict[str, Any] = yaml.safe_load((OPERATIONS / "alerts.yaml").read_text())

    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len(alerts) >= 8
    for alert in alerts:
        named = _named(alert["expr"])
        assert named, alert
        assert named <= _samples(everything), alert
        assert {"summary", "description"} <= set(alert["annotations"]), alert
        assert alert["labels"]["severity"] in ("page", "ticket"), alert


def test_every_metric_that_the_dashboard_names_is_there(everything: dict[str, Metric]) -> None:
    board: dict[str, Any] = json.loads((OPERATIONS / "dashboard.json").read_text())

    targets = [target for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(targets) >= 12
    for target in targets:
        named = _named(target["expr"])
        assert named, target
        assert named <= _samples(everything), target
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len({panel["id"] for panel in board["panels"]}) == len(places) == len(set(places))
