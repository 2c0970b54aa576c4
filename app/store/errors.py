"""What the store refuses.

StoreError
├── NotFound     no such row
├── MoveRefused  the job's status does not allow this; carries from, to and what is allowed
├── InUse        others need the job's snapshots; carries which
├── DatasetInUse  jobs need the data set; carries which
├── DatasetKept  the data set may not be deleted: it is everybody's, or it is being imported
├── NameTaken    another data set has the name, or is to have it
├── UploadIncomplete  parts of the upload have not arrived
├── UploadInUse  an import reads the upload
├── UploadsFull  so much is on its way in that no more is taken
├── PartInvalid  an upload has no such part, or not of this size
├── NotScored    the ensemble is still to be scored
├── QueueFull    so many jobs wait already that no more are taken
├── KeyReused    the idempotency key stands for another request
├── KeyInFlight  a request with the same idempotency key is being answered right now
├── CursorInvalid  a list's cursor is damaged or belongs to another list
├── Fenced       this attempt has been replaced: write nothing more
├── BlobDamaged  stored bytes do not have the hash they are known by
├── ContentMissing  there is no object at an address outside the database
└── StorageAway  what is outside the database cannot be reached
"""

from collections.abc import Sequence


class StoreError(Exception):
    """Base of all errors that the store raises on purpose."""


class NotFound(StoreError):
    """There is no `kind` (a word such as "job") with this id."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"There is no {kind} {id}.")
        self.kind = kind
        self.id = id


class MoveRefused(StoreError):
    """A job may not go from status `before` to `after`; `allowed` are the actions that may be asked instead."""

    def __init__(self, job_id: str, before: str, after: str, allowed: Sequence[str], because: str = "") -> None:
        instead = f"Allowed now: {', '.join(allowed)}." if allowed else "Nothing is allowed now."
        sentences = [f"Job {job_id} is {before} and cannot be {after}.", because, instead]
        super().__init__(" ".join(filter(None, sentences)))
        self.job_id = job_id
        self.before = before
        self.after = after
        self.allowed = tuple(allowed)


class InUse(StoreError):
    """A job may not be `done` while these ensembles and unfinished jobs, `users` by their ids, need its snapshots."""

    def __init__(self, job_id: str, done: str, users: Sequence[str]) -> None:
        named = ", ".join(users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
        super().__init__(f"Job {job_id} cannot be {done}: its snapshots are needed by {named}. Delete those first.")
        self.users = tuple(users)


class DatasetInUse(StoreError):
    """A data set may not be deleted while these jobs need it."""

    def __init__(self, name: str, jobs: Sequence[str]) -> None:
        named = ", ".join(jobs[:5]) + (f" and {len(jobs) - 5} more" if len(jobs) > 5 else "")
        super().__init__(f"The data set {name} cannot be deleted: it is needed by {named}. Delete those first.")
        self.jobs = tuple(jobs)


class DatasetKept(StoreError):
    """A data set that may not be deleted as it is."""


class NameTaken(StoreError):
    """A data set has the name already, of other content or of another owner."""


class UploadIncomplete(StoreError):
    """These parts of an upload are missing."""

    def __init__(self, upload_id: str, missing: Sequence[int]) -> None:
        named = ", ".join(map(str, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        super().__init__(f"The upload {upload_id} is not whole: part {named} missing. Send it first.")


class UploadInUse(StoreError):
    """An unfinished import reads the upload."""


class UploadsFull(StoreError):
    """Uploads together may have no more bytes than they have."""


class PartInvalid(StoreError):
    """An upload has no part of this number, or it must be of another size."""


class NotScored(StoreError):
    """An ensemble whose members and shares are still to be found out."""

    def __init__(self, ensemble_id: str) -> None:
        super().__init__(f"Ensemble {ensemble_id} is not scored yet; watch its job.")


class QueueFull(StoreError):
    """`most` jobs are queued."""

    def __init__(self, most: int) -> None:
        super().__init__(f"The queue is full: {most} jobs wait. Submit again when some have begun.")
        self.most = most


class KeyReused(StoreError):
    """An idempotency key came back with a different request."""


class KeyInFlight(StoreError):
    """Another request with the same idempotency key has not been answered yet."""


class CursorInvalid(StoreError):
    """A cursor that is damaged, or that came from a list with other filters."""


class Fenced(StoreError):
    """The attempt is closed: a newer one, a cancel or a delete has taken its place."""


class BlobDamaged(StoreError):
    """A blob's chunks are missing or do not have the hash it is known by."""


class ContentMissing(StoreError):
    """There is no object at an address outside the database."""


class StorageAway(StoreError):
    """What is outside the database cannot be reached, or refuses us."""
