"""What it means for a job that its training did not come to its end."""

import errno
from pathlib import Path

from app.store.reports import Failure
from app.store.states import FailureClass, Kind
from app.store.uploads import UploadRef
from worker import disk
from worker.wire import Failed

OUT_OF_MEMORY = {
    Kind.TRAINING: "Lower batch_size, make the network smaller or give the worker more memory.",
    Kind.SCORING: "Score fewer members, or give the worker more memory.",
    Kind.PREDICTION: "Take an ensemble of fewer members, or give the worker more memory.",
    Kind.EXPORT: "Take an ensemble of fewer members, or give the worker more memory.",
    Kind.IMPORT: "Give smaller images or tables, or the worker more memory.",
}
"""What to do about it, by what is done."""


def told(kind: Kind, event: Failed) -> Failure:
    """The process itself says why."""
    failure_class = FailureClass(event.failure_class)
    hint = OUT_OF_MEMORY[kind] if failure_class is FailureClass.OUT_OF_MEMORY else event.hint
    return Failure(failure_class, event.code, event.message, event.detail, hint, event.step)


def died(kind: Kind, exit_code: int, *, out_of_memory: bool) -> Failure:
    """The process ended without a word; whether the system has killed it for want of memory."""
    if out_of_memory:
        hint = OUT_OF_MEMORY[kind]
        message = f"The system killed the {kind} because the machine ran out of memory."
        return Failure(FailureClass.OUT_OF_MEMORY, "out_of_memory", message, {}, hint, None)
    how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    return _broken(f"child_{how.replace(' ', '_')}", f"The {kind} process ended with {how}.")


def fell_silent(kind: Kind, seconds: float) -> Failure:
    """The process lived and said nothing for so long."""
    return _broken("child_silent", f"The {kind} process reported nothing for {seconds:g} seconds and was ended.")


def ran_too_long(limit: float | None) -> Failure:
    """The job has used up the seconds of its `max_runtime`."""
    message = f"The job has run for the {limit:g} seconds that its max_runtime allows."
    hint = "Retry it to go on from its last checkpoint for as long again, or submit it with a higher max_runtime."
    return Failure(FailureClass.TIMEOUT, "max_runtime", message, {"max_runtime": limit}, hint, None)


def upload_unfit(upload: UploadRef | None) -> Failure:
    """What was to be imported is gone, or has not the content that was announced."""
    if upload is None:
        message = "The upload is gone: it was imported, deleted, or not used for too long."
        return Failure(FailureClass.USER, "upload_gone", message, {}, "Upload the file again.", None)
    finding = {"entry": upload.name, "code": "upload_damaged", "detail": "Its content has not the SHA-256 announced."}
    message = f"What has arrived of {upload.name} has not the SHA-256 that was announced, {upload.sha256}."
    hint = "Upload the file again, while nothing changes it."
    return Failure(FailureClass.USER, "upload_damaged", message, {"findings": [finding], "count": 1}, hint, None)


def dataset_damaged(name: str) -> Failure:
    """What is stored of a data set is not whole."""
    return _broken("dataset_damaged", f"The stored files of the data set {name} are damaged; import it again.")


def member_damaged(number: int) -> Failure:
    """The weights of a snapshot that is to be scored are not whole; counted as its job counts them."""
    return _broken("snapshot_damaged", f"The stored weights of a member, snapshot {number} of its job, are damaged.")


def member_gone() -> Failure:
    """A snapshot of the model has been deleted, or taken anew, since it was asked for."""
    message = "A snapshot of the model has been deleted, or taken anew, since this was asked for."
    return Failure(FailureClass.USER, "snapshot_gone", message, {}, "Ask again for what there is now.", None)


def of_the_worker(error: Exception, scratch: Path) -> Failure:
    """Something has gone wrong in the worker, which works in the folder `scratch`."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _broken("disk_full", disk.full(scratch))
    return _broken("supervisor_error", "The worker met an unexpected error; its log has the details.")


def _broken(code: str, message: str) -> Failure:
    return Failure(FailureClass.INFRASTRUCTURE, code, message, {}, None, None)
