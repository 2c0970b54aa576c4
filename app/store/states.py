"""Job states: the single table of allowed moves.

queued ──► running ──► succeeded | failed | cancelled
   ▲          │
   └──────────┴─ (rescue, hand-back)     queued ──► cancelled | failed
"""

from enum import StrEnum

from app.store.errors import MoveRefused


class Status(StrEnum):
    """What a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self in FINAL


class Wanted(StrEnum):
    """What the user wants a job to be; the worker follows."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class Phase(StrEnum):
    """The step inside running."""

    STARTING = "starting"
    LOADING_DATA = "loading_data"
    TRAINING = "training"
    SCORING = "scoring"
    SAVING = "saving"


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    CRASHED = "crashed"
    RELEASED = "released"


class FailureClass(StrEnum):
    """Whose failure it is, and so whether trying again can help."""

    USER = "user"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    INFRASTRUCTURE = "infrastructure"
    TIMEOUT = "timeout"


FINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})

MOVES = frozenset(
    {
        (Status.QUEUED, Status.RUNNING),
        (Status.QUEUED, Status.CANCELLED),
        (Status.QUEUED, Status.FAILED),
        (Status.RUNNING, Status.QUEUED),
        (Status.RUNNING, Status.PAUSED),
        (Status.RUNNING, Status.SUCCEEDED),
        (Status.RUNNING, Status.FAILED),
        (Status.RUNNING, Status.CANCELLED),
        (Status.PAUSED, Status.QUEUED),
        (Status.PAUSED, Status.CANCELLED),
    }
)


def check_move(job_id: str, before: Status, after: Status) -> None:
    """Raise `MoveRefused` unless a job may go from `before` to `after`."""
    if (before, after) not in MOVES:
        raise MoveRefused(job_id, before, after)
