"""Whether the kernel has killed for want of memory, told by the control group's counters (Linux, cgroup v2)."""

from pathlib import Path

EVENTS = Path("/sys/fs/cgroup/memory.events")


def out_of_memory_kills() -> int:
    """Processes that were killed in this control group so far; 0 where nobody counts."""
    try:
        counters = dict(line.split() for line in EVENTS.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(counters.get("oom_kill", 0))
