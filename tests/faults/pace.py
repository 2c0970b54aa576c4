"""What a promise in seconds is worth on a machine that others keep busy."""

import time

SAMPLE_SECONDS = 0.05


def here(seconds: float) -> float:
    """So many seconds of a machine of one's own, in seconds of this one as busy as it is just now: no fewer."""
    began, began_to_compute = time.monotonic(), time.thread_time()
    while time.thread_time() - began_to_compute < SAMPLE_SECONDS:
        pass
    return seconds * max(1.0, (time.monotonic() - began) / SAMPLE_SECONDS)
