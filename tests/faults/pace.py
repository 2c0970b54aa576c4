"""What a promise in seconds is worth on a machine that others keep busy."""

import os
import time

SAMPLE_SECONDS = 0.05
SHARERS = float(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
"""Test processes that run at once. The sample below is of one moment, and theirs may have been a quiet one."""


def here(seconds: float) -> float:
    """So many seconds of a machine of one's own, in seconds of this one as busy as it is just now: no fewer."""
    began, began_to_compute = time.monotonic(), time.thread_time()
    while time.thread_time() - began_to_compute < SAMPLE_SECONDS:
        pass
    return seconds * max(SHARERS, (time.monotonic() - began) / SAMPLE_SECONDS)
