"""Job states: the single table of allowed moves.

queued ──► running ──► succeeded | failed | cancelled
   ▲          │                        │
   ├──────────┤ rescue, hand-back      │
   └─ paused ◄┘                        │
   ▲                                   │
   └──────────── retry ────────────────┘     queued ──► paused | cancelled | failed     paused ──► cancelled
"""

from enum import StrEnum

from app.store.errors import MoveRefused


class Kind(StrEnum):
    """What a job does. Whatever it is, it waits, runs, fails and is tried again alike."""

    TRAINING = "training"
    SCORING = "scoring"
    PREDICTION = "prediction"
    EXPORT = "export"
    IMPORT = "import"


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
        """Whether nothing will change any more, unless the user has a failed or cancelled job tried again."""
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
    PREDICTING = "predicting"
    EXPORTING = "exporting"
    SAVING = "saving"


class Action(StrEnum):
    """What a user may ask of a job."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    DELETE = "delete"


class Outcome(StrEnum):
    """How an attempt ended: `lost` says the sweep, all others the attempt's own worker."""

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
        (Status.QUEUED, Status.PAUSED),
        (Status.QUEUED, Status.CANCELLED),
        (Status.QUEUED, Status.FAILED),
        (Status.RUNNING, Status.QUEUED),
        (Status.RUNNING, Status.PAUSED),
        (Status.RUNNING, Status.SUCCEEDED),
        (Status.RUNNING, Status.FAILED),
        (Status.RUNNING, Status.CANCELLED),
        (Status.PAUSED, Status.QUEUED),
        (Status.PAUSED, Status.CANCELLED),
        (Status.FAILED, Status.QUEUED),
        (Status.CANCELLED, Status.QUEUED),
    }
)

ACTIONS = {
    Status.QUEUED: (Action.PAUSE, Action.CANCEL),
    Status.RUNNING: (Action.PAUSE, Action.CANCEL),
    Status.PAUSED: (Action.RESUME, Action.CANCEL),
    Status.SUCCEEDED: (Action.DELETE,),
    Status.FAILED: (Action.RETRY, Action.DELETE),
    Status.CANCELLED: (Action.RETRY, Action.DELETE),
}
"""What a user may ask in each status; the same again is harmless and not said."""


def check_move(job_id: str, before: Status, after: Status) -> None:
    """Raise `MoveRefused` unless a job may go from `before` to `after`."""
    if (before, after) not in MOVES:
        raise MoveRefused(job_id, before, after, ACTIONS[before])
