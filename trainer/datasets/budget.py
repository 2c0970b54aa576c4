"""What an import has used up of its limits, and whom it tells how far it is."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from trainer.datasets.findings import refused
from trainer.datasets.limits import Limits

Stage = Literal["downloading", "listing", "reading", "packing"]


@dataclass(frozen=True)
class Progress:
    """`done` of `total` images, or bytes while downloading and listing; `total` is None where it is not known yet."""

    stage: Stage
    done: int
    total: int | None


class Budget:
    """The time an import has. `report` may raise, and so ends the import with nothing left behind."""

    def __init__(self, source: str, limits: Limits, report: Callable[[Progress], None] | None = None) -> None:
        self.source = source
        self.limits = limits
        self._report = report
        self._end = time.monotonic() + limits.seconds

    def tell(self, stage: Stage, done: int, total: int | None) -> None:
        """Say how far it is. Raises `DataRefused` when the time is up."""
        self.check()
        if self._report:
            self._report(Progress(stage, done, total))

    def check(self) -> None:
        """Raise `DataRefused` when the time is up."""
        if time.monotonic() > self._end:
            raise refused(
                self.source, "too_slow", f"It takes longer than {self.limits.seconds:g} seconds; give fewer images."
            )
