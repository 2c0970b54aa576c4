"""A worker's claim among ten thousand queued jobs beside one among ten, of one owner and of twenty."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from rich.table import Table
from sqlalchemy import Engine, insert, select, text

from app.store import engine as engines
from app.store import ids
from app.store.engine import write
from app.store.models import Job
from benchmarks.figures import percentile, table
from benchmarks.service import DATABASES, database
from tests.shop import Shop

QUEUES = ((10, 1), (10_000, 1), (10_000, 20))
"""Queued jobs and owners."""
CLAIMS = 50


def run() -> Iterator[Table]:
    """On each database."""
    for kind in DATABASES:
        found = table(f"a claim, {kind}", "queue", "p50 ms", "p99 ms", "p50 / of ten jobs")
        alone = 0.0
        for jobs, owners in QUEUES:
            milliseconds = _claims(kind, jobs, owners)
            alone = alone or median(milliseconds)
            name = f"{jobs:,} jobs of {owners} owner{'s' if owners > 1 else ''}"
            ratio = median(milliseconds) / alone
            found.add_row(name, f"{median(milliseconds):.1f}", f"{percentile(milliseconds, 99):.1f}", f"{ratio:.1f}")
        yield found


def _claims(kind: str, jobs: int, owners: int) -> list[float]:
    """Milliseconds of each claim; what was claimed is replaced, so that the queue stays as long as it is."""
    with tempfile.TemporaryDirectory() as folder, database(kind, Path(folder)) as url:
        engine = engines.create(url)
        shop = Shop(engine)
        first = shop.submit()
        _fill(engine, first.id, jobs - 1, owners)
        milliseconds = []
        for _ in range(CLAIMS):
            began = time.perf_counter()
            claim = shop.claim()
            milliseconds.append((time.perf_counter() - began) * 1000)
            assert claim
            _fill(engine, first.id, 1, owners)
        engine.dispose()
        return milliseconds


def _fill(engine: Engine, like: str, jobs: int, owners: int) -> None:
    """Queue copies of a job."""
    with write(engine) as session:
        known = session.execute(select(Job.__table__).where(Job.id == like)).mappings().one()
        copy = {**known, "status": "queued", "phase": None, "attempt": 0, "started_at": None}
        rows = [{**copy, "id": ids.new("job"), "owner": f"owner-{number % owners}"} for number in range(jobs)]
        session.execute(insert(Job.__table__), rows)  # type: ignore[arg-type]
    if jobs > 1 and engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # As the server does by itself within a minute.
            connection.execute(text("ANALYZE jobs"))
