"""Requests to the API beside a bare `/healthz` in the same run, and how long a new job waits for its first step.

Requests take turns, so that a slow moment meets them all.
"""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.figures import percentile, spread, table
from benchmarks.service import DATABASES, Service, service

ROUNDS = 300
JOBS_THERE = 200
CHANGES = 40
STARTS = 15


def run() -> Iterator[Table]:
    """All of it on each database."""
    for database in DATABASES:
        with service(database, worker=False) as running:
            yield _latencies(running, database)
            yield _wakes(running, database)
        with service(database, worker=True) as running:
            yield _starts(running, database)


def _latencies(running: Service, database: str) -> Table:
    jobs = [running.submit()["id"] for _ in range(JOBS_THERE)]
    job = jobs[len(jobs) // 2]
    version = running.http.get(f"/v1/jobs/{job}").headers["ETag"]
    get = running.http.get
    calls: dict[str, Callable[[], Any]] = {
        "GET /healthz": lambda: get("/healthz"),
        "POST /v1/jobs": running.submit,
        "GET /v1/jobs/{id}": lambda: get(f"/v1/jobs/{job}"),
        "GET /v1/jobs/{id}, 304": lambda: get(f"/v1/jobs/{job}", headers={"If-None-Match": version}),
        "GET /v1/jobs?limit=50": lambda: get("/v1/jobs", params={"limit": 50}),
        "GET /v1/jobs/{id}/metrics": lambda: get(f"/v1/jobs/{job}/metrics"),
    }
    milliseconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            milliseconds[name].append((time.perf_counter() - began) * 1000)
    bare = median(milliseconds["GET /healthz"])
    found = table(f"requests, one after another, {database}", "request", "p50 ms", "p99 ms", "p50 / healthz")
    for name, samples in milliseconds.items():
        found.add_row(name, f"{median(samples):.1f}", f"{percentile(samples, 99):.1f}", f"{median(samples) / bare:.1f}")
    return found


def _wakes(running: Service, database: str) -> Table:
    """From the answer to a cancel to the answer of a client that waits for the job to change."""
    milliseconds = []
    for _ in range(CHANGES):
        job = running.submit()
        woken: list[float] = []

        def wait(job: dict[str, Any] = job, woken: list[float] = woken) -> None:
            headers = {"If-None-Match": f'"{job["version"]}"', "Prefer": "wait=30"}
            assert running.http.get(f"/v1/jobs/{job['id']}", headers=headers).status_code == 200
            woken.append(time.perf_counter())

        waiter = threading.Thread(target=wait)
        waiter.start()
        time.sleep(0.15)
        running.http.post(f"/v1/jobs/{job['id']}/cancel").raise_for_status()
        cancelled = time.perf_counter()
        waiter.join()
        milliseconds.append(max(0.0, woken[0] - cancelled) * 1000)
    found = table(f"a waiting client, {database}", "from a change to its answer", "p50 ms", "p99 ms")
    found.add_row("Prefer: wait", f"{median(milliseconds):.0f}", f"{percentile(milliseconds, 99):.0f}")
    return found


def _starts(running: Service, database: str) -> Table:
    """From the submit of a job to a warm and idle worker, to its first step as a waiting client sees it."""
    parts: dict[str, list[float]] = {}
    for _ in range(STARTS):
        for name, seconds in _start(running).items():
            parts.setdefault(name, []).append(seconds)
    found = table(f"a new job, {database}", "seconds", "median (smallest to largest)")
    for name, samples in parts.items():
        found.add_row(name, spread(samples, 3))
    return found


def _start(running: Service) -> dict[str, float]:
    began = time.time()
    job = running.submit()
    answered = time.time()
    while job["progress"]["step"] == 0:
        headers = {"If-None-Match": f'"{job["version"]}"', "Prefer": "wait=30"}
        job = running.http.get(f"/v1/jobs/{job['id']}", headers=headers).json()
    seen = time.time()
    here = f"/v1/jobs/{job['id']}"
    events = {event["kind"]: event for event in running.http.get(f"{here}/events").json()["items"]}
    moments = [
        began,
        *(datetime.fromisoformat(events[kind]["created_at"]).timestamp() for kind in ("started", "training_started")),
        seen,
    ]
    running.http.post(f"{here}/cancel")
    while running.http.get(here).json()["status"] == "running":
        time.sleep(0.02)
    names = (
        "submit to claimed: request, bell, claim",
        "claimed to trainable: child, data, network",
        "trainable to the first steps seen: train, report, store, wake",
    )
    split = {name: later - earlier for name, (earlier, later) in zip(names, pairwise(moments), strict=True)}
    return {"submit to answered": answered - began, **split, "submit to the first steps seen": seen - began}
