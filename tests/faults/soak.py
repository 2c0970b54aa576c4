"""`python -m tests.faults.soak`: a small job every two seconds for ten minutes, and what that leaves behind.

A real system: API, worker with its fork server, Valkey, PostgreSQL. Each job is followed by a client as server-sent
events and read when it is done. The memory and the open files of the API, the worker and the fork server are looked at
every few seconds; the first fifth of the time is for caches to fill. The slopes are printed, and how much the database
has grown for each job. Exit status 1 where a job did not succeed or something grows without end.
"""

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import redis
from sqlalchemy import text

from app.client import ClientError
from app.store.states import Status
from tests.faults.postgres import Postgres
from tests.faults.service import TINY
from tests.faults.system import System
from tests.servers import Template, children

JOB: dict[str, Any] = TINY | {"name": "soak", "epochs": 3}
GAP_SECONDS = 2.0
SAMPLE_SECONDS = 5.0
WARM_SHARE = 0.2
SETTLE_SECONDS = 300.0
HEARD_SECONDS = 3.0

MOST_KILOBYTES_A_MINUTE = 1024.0
"""What still counts as flat: an allocator's own unrest over minutes."""
MOST_HANDLES_A_MINUTE = 0.3
"""One for a hundred jobs. A worker that has a job at the moment has some more than one that has none."""


@dataclass(frozen=True)
class Sample:
    """What a process holds at a moment: memory in kB, open files, threads; `at` in seconds from the start."""

    at: float
    kilobytes: int
    handles: int
    threads: int


@dataclass(frozen=True)
class Trend:
    """How a process has changed once it was warm: medians over the first and last tenth of the samples, and the slope.

    The slope a minute is that of a line through all samples.
    """

    part: str
    kilobytes: tuple[float, float, float]
    handles: tuple[float, float, float]
    threads: tuple[float, float, float]

    @property
    def is_flat(self) -> bool:
        """Whether it would go on like this for ever."""
        return self.kilobytes[2] < MOST_KILOBYTES_A_MINUTE and self.handles[2] < MOST_HANDLES_A_MINUTE

    def __str__(self) -> str:
        memory, handles, threads = self.kilobytes, self.handles, self.threads
        return (
            f"{self.part:<12} memory {memory[0] / 1024:6.1f} -> {memory[1] / 1024:6.1f} MiB, {memory[2]:+7.1f} kB/min;"
            f" files {handles[0]:3.0f} -> {handles[1]:3.0f}, {handles[2]:+5.2f}/min;"
            f" threads {threads[0]:2.0f} -> {threads[1]:2.0f}, {threads[2]:+5.2f}/min"
        )


class Soak:
    """One run: who is watched, what was seen of them, which jobs there were."""

    def __init__(self, system: System, seconds: float) -> None:
        self.system = system
        self.seconds = seconds
        self.jobs: list[str] = []
        self.samples: dict[str, list[Sample]] = {}
        self._began = time.monotonic()
        self._followers: list[threading.Thread] = []

    def run(self) -> None:
        """Submit and look for as long as it lasts, then wait for all jobs."""
        parts = self._parts()
        next_job = next_sample = 0.0
        while (now := time.monotonic() - self._began) < self.seconds:
            if now >= next_job:
                self._submit()
                next_job += GAP_SECONDS
            if now >= next_sample:
                for name, pid in parts.items():
                    self.samples.setdefault(name, []).append(_sample(pid, now))
                next_sample += SAMPLE_SECONDS
            time.sleep(0.05)
        for follower in self._followers:
            follower.join(SETTLE_SECONDS)

    def trends(self) -> list[Trend]:
        """How each part has changed."""
        return [
            _trend(name, [one for one in seen if one.at >= self.seconds * WARM_SHARE])
            for name, seen in self.samples.items()
        ]

    def _parts(self) -> dict[str, int]:
        assert self.system.api is not None
        worker = self.system.worker.pid
        (server,) = (pid for pid in children(worker) if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes())
        return {"api": self.system.api.pid, "worker": worker, "fork server": server}

    def _submit(self) -> None:
        job = self.system.submit(JOB)
        self.jobs.append(job)
        self._followers = [follower for follower in self._followers if follower.is_alive()]
        follower = threading.Thread(target=self._follow, args=(job,), daemon=True)
        follower.start()
        self._followers.append(follower)

    def _follow(self, job: str) -> None:
        """As a user does: look on until it is done, then read everything."""
        try:
            with httpx.Client(base_url=self.system.client.url, timeout=SETTLE_SECONDS) as http:
                with http.stream("GET", f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"}) as events:
                    for _ in events.iter_lines():
                        pass
                for what in ("", "/metrics", "/logs", "/snapshots", "/ensemble"):
                    http.get(f"/v1/jobs/{job}{what}")
        except (httpx.HTTPError, ClientError) as error:
            print(f"{job} could not be followed: {error!r}", flush=True)


def main() -> int:
    """Run a soak from the command line; the exit status."""
    # So that nothing outlives us: an exit ends what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="annealer-soak-") as name, Postgres() as postgres:
        folder = Path(name)
        with System(folder, Template("postgresql", folder, postgres.url), postgres) as system:
            return _soak(system, options.minutes * 60)


def _soak(system: System, seconds: float) -> int:
    # Once through everything: tables and connections are there before the database is measured.
    system.await_final(system.submit(JOB))
    before = _database_bytes(system)
    soak = Soak(system, seconds)
    soak.run()
    grown = _database_bytes(system) - before
    failed = [job for job in soak.jobs if system.status(job) is not Status.SUCCEEDED]
    for job in failed:
        print(f"{job} is {system.status(job)}:\n{system.story(job)}")
    trends = soak.trends()
    for trend in trends:
        print(trend)
    # Workers that were busy hear the bells only now.
    time.sleep(HEARD_SECONDS)
    with redis.Redis.from_url(system.valkey.url) as broker:
        left = sum(broker.llen(name) for name in broker.keys("work.*"))  # type: ignore[misc, union-attr]
    growing = [trend.part for trend in trends if not trend.is_flat]
    print(
        f"soak of {seconds / 60:g} minutes: {len(soak.jobs)} jobs, {len(failed)} not succeeded, {left} bells left;"
        f" the database grew by {grown / len(soak.jobs) / 1024:.1f} kB a job;"
        f" {'growing: ' + ', '.join(growing) if growing else 'memory and files are flat'}"
    )
    return 1 if failed or growing else 0


def _database_bytes(system: System) -> int:
    """What the tables and indexes hold: what waits to be vacuumed is none of the jobs'."""
    with system.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM"))
        return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def _sample(pid: int, at: float) -> Sample:
    """Memory is what is resident or swapped out, shared pages included."""
    memory = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kilobytes = sum(int(line.split()[1]) for line in memory.splitlines() if line.startswith(("Rss", "Swap:")))
    handles = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    return Sample(at, kilobytes, handles, threads)


def _trend(part: str, samples: Sequence[Sample]) -> Trend:
    at = [sample.at / 60 for sample in samples]

    def of(values: list[int]) -> tuple[float, float, float]:
        edge = max(1, len(values) // 10)
        slope = float(np.polyfit(at, values, 1)[0])
        return float(np.median(values[:edge])), float(np.median(values[-edge:])), slope

    return Trend(
        part,
        of([sample.kilobytes for sample in samples]),
        of([sample.handles for sample in samples]),
        of([sample.threads for sample in samples]),
    )


if __name__ == "__main__":
    sys.exit(main())
