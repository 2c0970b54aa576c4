"""Whether the kernel has killed for want of memory, told by the control group's counters (Linux, cgroup v2)."""

import threading
from pathlib import Path

EVENTS = Path("/sys/fs/cgroup/memory.events")


def out_of_memory_kills() -> int:
    """Processes that were killed in this control group so far; 0 where nobody counts."""
    try:
        counters = dict(line.split() for line in EVENTS.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(counters.get("oom_kill", 0))


class Blame:
    """Lays each such kill to one death: the trainings of one worker share the counter."""

    def __init__(self) -> None:
        self._laid = 0
        self._lock = threading.Lock()

    def takes_one(self, since: int) -> bool:
        """Whether there is a kill that was counted after `since`, and explains no other death yet; it does now."""
        with self._lock:
            self._laid = max(self._laid, since)
            if out_of_memory_kills() <= self._laid:
                return False
            self._laid += 1
            return True
