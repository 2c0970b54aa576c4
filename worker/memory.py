"""What memory a worker's devices have, and how much of it is used, by whomever."""

import subprocess
import threading
import time
from pathlib import Path

MEMORY = Path("/proc/meminfo")
SMI = ["nvidia-smi", "--query-gpu=index,memory.used,memory.total", "--format=csv,noheader,nounits"]
SMI_SECONDS = 5.0
"""How long what the driver's tool has said is taken for true: it takes up to a second itself."""

Used = dict[str, tuple[int, int]]
"""Bytes used and bytes in all, by device: "cpu" is the host, "gpu0" the first of the driver's list."""


class Memory:
    """That of the host, and of its GPUs where jobs run on them."""

    def __init__(self, *, has_gpus: bool) -> None:
        self._gpus = Gpus() if has_gpus else None

    def now(self) -> Used:
        """Whatever can be found out just now."""
        return {**host_memory(), **(self._gpus.memory() if self._gpus else {})}


class Gpus:
    """Memory of GPUs as the driver's tool tells it; torch could only tell of the process that asks."""

    def __init__(self, command: list[str] = SMI) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._known: Used = {}

    def memory(self) -> Used:
        """Bytes used and bytes in all of each GPU, numbered as the tool numbers them; nothing where it fails."""
        with self._lock:
            if time.monotonic() - self._asked_at > SMI_SECONDS:
                self._known = self._ask()
                self._asked_at = time.monotonic()
            return self._known

    def _ask(self) -> Used:
        try:
            done = subprocess.run(self._command, capture_output=True, text=True, timeout=SMI_SECONDS, check=True)
            rows = [[int(part) for part in line.split(",")] for line in done.stdout.splitlines()]
            return {f"gpu{index}": (used * 2**20, whole * 2**20) for index, used, whole in rows}
        except (OSError, ValueError, subprocess.SubprocessError):
            return {}


def host_memory(path: Path = MEMORY) -> Used:
    """Bytes used and bytes in all of this host, as the CPU's; nothing where the kernel does not tell."""
    try:
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
        whole, available = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError):
        return {}
    return {"cpu": (whole - available, whole)}
