"""A worker's devices and the jobs that have them."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Devices:
    """Hands out torch's names of devices. Safe to share between threads.

    A job on the CPU has processes instead, at most `cores` of them. A job on one GPU may share it, where there are more
    `slots` than GPUs; a job on several has them for itself.
    """

    def __init__(self, gpus: int, slots: int, cores: int) -> None:
        self._cores = cores
        self._jobs_of = {f"cuda:{index}": 0 for index in range(gpus)}
        self._sharing = -(-slots // gpus) if gpus else 0
        self._free_slots = slots
        self._lock = threading.Lock()
        self._choice = threading.Lock()

    @property
    def most(self) -> Mapping[str, int]:
        """How many devices a job may have that says `auto`, `cuda` or `cpu`, when nothing else runs."""
        gpus = len(self._jobs_of)
        return {"auto": gpus, "cuda": gpus, "cpu": self._cores} if gpus else {"auto": self._cores, "cpu": self._cores}

    @property
    def free_slots(self) -> int:
        """How many more jobs can run."""
        return self._free_slots

    @property
    def has_a_free_slot(self) -> bool:
        """Whether one more job can run."""
        return self._free_slots > 0

    @contextmanager
    def choice(self) -> Iterator[Mapping[str, int]]:
        """What of `most` is free, and stays so until the choice of a job is made: one chooses at a time."""
        with self._choice:
            yield {kind: self._free(kind) for kind in self.most}

    def take(self, kind: str, count: int) -> tuple[str, ...]:
        """The names of `count` devices for a job of that kind; within a `choice`, and no more than are free."""
        with self._lock:
            self._free_slots -= 1
            if not self._is_gpu(kind):
                return ("cpu",) * count
            least_used = sorted(self._jobs_of, key=self._jobs_of.__getitem__)[:count]
            for name in least_used:
                self._jobs_of[name] += 1 if count == 1 else self._sharing
            return tuple(least_used)

    def give_back(self, names: tuple[str, ...]) -> None:
        """The job that had them is over."""
        with self._lock:
            self._free_slots += 1
            for name in self._jobs_of.keys() & set(names):
                self._jobs_of[name] -= 1 if len(names) == 1 else self._sharing

    def _free(self, kind: str) -> int:
        with self._lock:
            if self._free_slots == 0:
                return 0
            if not self._is_gpu(kind):
                return self._cores
            idle = sum(jobs == 0 for jobs in self._jobs_of.values())
            return idle or int(min(self._jobs_of.values()) < self._sharing)

    def _is_gpu(self, kind: str) -> bool:
        return bool(self._jobs_of) and kind != "cpu"
