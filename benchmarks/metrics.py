"""A series of a million points: how much room it takes, and how long a chart of it takes."""

import time
from collections.abc import Iterator
from statistics import median

import numpy as np
from rich.table import Table
from sqlalchemy import Engine, func, select

from app.store import engine as engines
from app.store import metrics
from app.store.engine import read, write
from app.store.models import SeriesBlock
from benchmarks.figures import percentile, table
from benchmarks.service import DATABASES, Service, service

POINTS = 1_000_000
POINTS_A_WRITE = 5_000
ROUNDS = 20


def run() -> Iterator[Table]:
    """On each database."""
    for database in DATABASES:
        with service(database, worker=False) as running:
            engine = engines.create(running.database_url)
            yield _chart(running, engine, database)
            engine.dispose()


def _chart(running: Service, engine: Engine, database: str) -> Table:
    job = running.submit()["id"]
    began = time.perf_counter()
    fill(engine, job)
    speed = POINTS / (time.perf_counter() - began)
    with read(engine) as session:
        size = session.scalar(select(func.sum(func.length(SeriesBlock.points))).where(SeriesBlock.job_id == job)) or 0
    bare, chart = [], []
    for _ in range(ROUNDS):
        bare.append(_milliseconds(running, "/healthz"))
        chart.append(_milliseconds(running, f"/v1/jobs/{job}/metrics?series=loss&max_points=1000"))
    found = table(f"{POINTS:,} points of a series, {database}", "", "")
    found.add_row("stored, points a second", f"{speed:,.0f}")
    found.add_row("bytes", f"{size:,}")
    found.add_row("a chart of 1,000 points, p50 ms", f"{median(chart):.1f}")
    found.add_row("the same, p99 ms", f"{percentile(chart, 99):.1f}")
    found.add_row("times a bare /healthz", f"{median(chart) / median(bare):.0f}")
    return found


def fill(engine: Engine, job: str) -> None:
    """Store a loss for each of a million steps."""
    values = np.random.default_rng(1).normal(size=POINTS)
    for start in range(0, POINTS, POINTS_A_WRITE):
        steps = range(start + 1, start + POINTS_A_WRITE + 1)
        with write(engine) as session:
            metrics.append(session, job, "loss", steps, values[start : start + POINTS_A_WRITE].tolist())


def _milliseconds(running: Service, address: str) -> float:
    began = time.perf_counter()
    running.http.get(address).raise_for_status()
    return (time.perf_counter() - began) * 1000
