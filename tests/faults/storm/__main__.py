"""`python -m tests.faults.storm`: on processes of this machine, or with `--compose` on the compose deployment.

The last line counts faults, jobs and broken promises, and tells how soon jobs that were hit were seen to. Exit status 1
when a promise was broken.
"""

import argparse
import faulthandler
import secrets
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from app.store.states import Status
from tests.faults import judge
from tests.faults.judge import Breach
from tests.faults.postgres import Postgres
from tests.faults.storm.containers import ContainerStorm
from tests.faults.storm.deployment import Deployment
from tests.faults.storm.processes import ProcessStorm
from tests.faults.storm.schedule import WORKERS, Storm
from tests.faults.system import System
from tests.servers import Template

PATIENCE = {"max_attempts": "1000"}
"""Of the API: one job may be hit many times."""


def main() -> int:
    """Run a storm from the command line; the exit status."""
    faulthandler.register(signal.SIGUSR1)
    # So that nothing outlives us: an exit ends what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--compose", action="store_true", help="on the compose deployment; needs Docker")
    options = parser.parse_args()
    where = "compose" if options.compose else options.database
    print(f"seed {options.seed}: {options.minutes:g} minutes, {options.jobs} jobs, {where}", flush=True)
    with tempfile.TemporaryDirectory(prefix="annealer-storm-") as name:
        folder = Path(name)
        schedule = options.seed, options.minutes * 60, options.jobs
        if options.compose:
            with Deployment(folder, WORKERS) as deployment:
                return _weather(ContainerStorm(deployment, *schedule), options)
        if options.database == "sqlite":
            with System(folder, Template("sqlite", folder, None), None, **PATIENCE) as system:
                return _weather(ProcessStorm(system, *schedule), options)
        with Postgres() as postgres:
            template = Template("postgresql", folder, postgres.url)
            with System(folder, template, postgres, **PATIENCE) as system:
                return _weather(ProcessStorm(system, *schedule), options)


def _weather(storm: Storm[Any], options: argparse.Namespace) -> int:
    storm.run()
    print("mending; waiting for all jobs", flush=True)
    storm.settle()
    breaches = [*storm.breaches(), *_ended_otherwise(storm)]
    for breach in breaches:
        print(breach)
    recoveries = storm.recoveries()
    for fault, times in sorted(recoveries.items()):
        print(f"{fault}: seen to after {', '.join(f'{seconds:.1f}' for seconds in sorted(times))} s")
    print(_summary(storm, breaches, [*chain(*recoveries.values())], options.seed))
    return 1 if breaches or len(storm.specs) != options.jobs else 0


def _ended_otherwise(storm: Storm[Any]) -> list[Breach]:
    """Jobs that ended otherwise than they should."""
    found = []
    for job_id in storm.specs:
        job = storm.service.job(job_id)
        allowed = {Status.SUCCEEDED, Status.CANCELLED} if job_id in storm.cancelled else {Status.SUCCEEDED}
        if job.status.is_final and job.status not in allowed:
            found.append(Breach("lost", job_id, f"it is {job.status}: {job.failure_message}"))
    return found


def _summary(storm: Storm[Any], breaches: Sequence[Breach], times: Sequence[float], seed: int) -> str:
    kinds: Counter[judge.Kind] = Counter(breach.kind for breach in breaches)
    counts = f"lost {kinds['lost']}, doubled {kinds['doubled']}, differing {kinds['differing']}"
    others = kinds["inconsistent"] + kinds["left over"]
    p50, p99 = np.percentile(times or [0.0], [50, 99])
    return (
        f"seed {seed}: {storm.faults.total()} faults injected, {len(storm.specs)} jobs, {counts}"
        + (f", inconsistent or left over {others}" if others else "")
        + f", recovery p50 {p50:.1f} s, p99 {p99:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
