"""Makes a data set in a child process, under limits of memory and time of its own: strangers' files are read here."""

import queue
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from trainer.datasets.budget import Progress
from trainer.datasets.importer import import_data, import_known
from trainer.datasets.manifest import Manifest
from trainer.events import Advanced, DatasetPacked, Event, PackFileWritten, PhaseStarted, TaskFinished, TaskStopped
from trainer.parsing import parse_as
from trainer.spec.importing import ImportSpec, NamedSource
from worker.order import ImportTask

PACK = "pack"
"""The folder of the new data set, in the attempt's scratch folder."""
STEPS = 1000
REPORT_SECONDS = 0.2
STAGES = {"downloading": (0.0, 0.3), "listing": (0.3, 0.3), "reading": (0.3, 0.7), "packing": (0.7, 1.0)}
"""From where to where a stage brings the whole work, as shares."""
HARD_SECONDS = 30
"""What a process gets to end in, once its processor time is used up."""


class OutOfTime(Exception):
    """The processor time of the import is used up."""


def run(task: ImportTask, scratch: Path, stop: Callable[[], bool]) -> Iterator[Event]:
    """Import as a spec says; progress as it is made, at the end the files and what is known of them.

    Raises `DataInvalid`, `MemoryError` or `OSError`, and `OutOfTime` where the process is confined.
    """
    work = _Work(task, scratch, stop)
    work.start()
    yield PhaseStarted("loading_data")
    is_saving = False
    for progress in work.reports():
        if progress.stage == "packing" and not is_saving:
            is_saving = True
            yield PhaseStarted("saving")
        yield Advanced(_steps(progress), STEPS)
    if work.was_stopped:
        yield TaskStopped()
        return
    manifest = work.manifest()
    for path in sorted((scratch / PACK).iterdir()):
        yield PackFileWritten(path.name, path.stat().st_size)
    yield Advanced(STEPS, STEPS)
    yield DatasetPacked(manifest.model_dump(mode="json"))
    yield TaskFinished()


def confine(memory_bytes: int, processor_seconds: int) -> None:
    """Bound what this process may take from now on: memory beside what it has, and processor time.

    Mapped files do not count as memory: they are given back when others need it.
    """
    if sys.platform == "linux":
        limit = _data_bytes() + memory_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    signal.signal(signal.SIGXCPU, _out_of_time)
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    soft = int(used) + processor_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, soft + HARD_SECONDS))


class _Stopped(Exception):
    pass


class _Work(threading.Thread):
    """Imports, beside the thread that tells of it."""

    def __init__(self, task: ImportTask, scratch: Path, stop: Callable[[], bool]) -> None:
        super().__init__(daemon=True, name="import")
        self._task = task
        self._scratch = scratch
        self._stop = stop
        self._reports: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()
        self._told_at = float("-inf")
        self._stage = ""
        self._manifest: Manifest | None = None
        self._error: BaseException | None = None

    @property
    def was_stopped(self) -> bool:
        """Whether it has ended because it was asked to."""
        return isinstance(self._error, _Stopped)

    def run(self) -> None:
        try:
            self._manifest = self._import()
        except BaseException as error:
            self._error = error
        finally:
            self._reports.put(None)

    def reports(self) -> Iterator[Progress]:
        """How far it is, a few times a second, until it has ended."""
        while (progress := self._reports.get()) is not None:
            yield progress

    def manifest(self) -> Manifest:
        """What is known of the data set; raises what went wrong."""
        if self._manifest is None:
            assert self._error is not None
            raise self._error
        return self._manifest

    def _import(self) -> Manifest:
        task, spec = self._task, parse_as(ImportSpec, self._task.spec)
        options, folder, name = spec.options, self._scratch / PACK, str(spec.called)
        if isinstance(spec.source, NamedSource):
            known = spec.source.name
            mirrors = [f"{task.mirror.rstrip('/')}/{known}/"] if task.mirror else []
            downloads = self._scratch / "downloads"
            return import_known(
                known, folder, downloads, options, name=name, mirrors=mirrors, limits=task.limits, report=self._tell
            )
        assert task.source is not None
        return import_data(task.source, folder, options, name=name, limits=task.limits, report=self._tell)

    def _tell(self, progress: Progress) -> None:
        if self._stop():
            raise _Stopped
        now = time.monotonic()
        if now - self._told_at >= REPORT_SECONDS or progress.stage != self._stage:
            self._told_at, self._stage = now, progress.stage
            self._reports.put(progress)


def _steps(progress: Progress) -> int:
    start, end = STAGES[progress.stage]
    share = progress.done / progress.total if progress.total else 0.0
    return int(STEPS * (start + (end - start) * min(share, 1.0)))


def _data_bytes() -> int:
    """What Linux counts of this process against RLIMIT_DATA."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status does not say VmData")


def _out_of_time(number: int, frame: FrameType | None) -> None:
    raise OutOfTime
