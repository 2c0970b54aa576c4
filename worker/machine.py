"""What a worker's machine trains on."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """Names of its GPUs, the CPU cores that a process may use, and what each kind of device computes in.

    `precisions` has sorted names of a spec's `execution.precision`, by the names of its `device`: "cpu" always, "cuda"
    where there are GPUs; of unlike GPUs what all of them have.
    """

    gpus: tuple[str, ...]
    cores: int
    precisions: Mapping[str, tuple[str, ...]]

    def without_gpus(self) -> "Machine":
        """As if it had none."""
        return Machine((), self.cores, {"cpu": self.precisions["cpu"]})
