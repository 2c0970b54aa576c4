"""A typed Python client of the HTTP API.

    with Client() as client:
        job = client.submit(spec)
        for job in client.watch(job.id):
            print(job.status, job.progress.fraction)

Errors:

    ClientError
    ├── Unreachable   no answer came; carries the address
    └── ProblemError  the server refused; carries the problem document
        ├── Invalid   422: something in the request is wrong, `problem.errors` says where
        ├── NotFound  404
        ├── Refused   409: not in this state, `problem.allowed` says what is
        ├── TooMany   429: `retry_after` says how many seconds to wait
        ├── KeyNeeded 401: no key was sent, or one that opens nothing
        └── Forbidden 403: the key does not allow this
"""

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from app import keytext, parcel
from app.api.schemas import (
    CardView,
    CompareView,
    DatasetDetailView,
    DatasetList,
    DatasetView,
    EnsembleList,
    EnsembleView,
    EventList,
    EventView,
    FileList,
    FileView,
    JobList,
    JobView,
    LayerStatisticsList,
    LogChunkView,
    LogView,
    MetricsView,
    PlanView,
    PredictionsView,
    ProblemView,
    ReadinessView,
    SnapshotList,
    SnapshotView,
    UploadView,
    WorkerList,
    WorkerView,
)
from app.store.wishes import From
from trainer.spec.exporting import Format as ExportFormat

DEFAULT_URL = "http://127.0.0.1:8400"
LONGEST_WAIT = 60
PATIENCE_SECONDS = 60.0

V = TypeVar("V", bound=BaseModel)
T = TypeVar("T")


class ClientError(Exception):
    """Base of all that the client raises on purpose."""


class Unreachable(ClientError):
    """No answer came from the server."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"No answer from {url} ({reason}).")
        self.url = url


class ProblemError(ClientError):
    """The server refused; `problem` is the document it sent."""

    def __init__(self, problem: ProblemView, retry_after: float = 0.0) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.retry_after = retry_after


class Invalid(ProblemError):
    """Something in the request is wrong."""


class NotFound(ProblemError):
    """There is no such thing."""


class Refused(ProblemError):
    """Not in this state."""


class TooMany(ProblemError):
    """Too many requests, or too many jobs that wait."""


class KeyNeeded(ProblemError):
    """No key was sent, or one that opens nothing."""


class Forbidden(ProblemError):
    """The key does not allow this."""


KINDS: Mapping[int, type[ProblemError]] = {
    401: KeyNeeded,
    403: Forbidden,
    404: NotFound,
    409: Refused,
    422: Invalid,
    429: TooMany,
}
PASSING = {429, 503}
"""What is worth another try."""


class Client:
    """Calls one server, by default the one at `ANNEALER_URL` or on this machine, with `key` or `ANNEALER_KEY`.

    Raises `ClientError` for a key that is none. It goes to this server alone, in a header, and is shown nowhere.
    """

    def __init__(self, url: str | None = None, *, key: str | None = None, timeout: float = 10.0) -> None:
        self.url = (url or os.environ.get("ANNEALER_URL") or DEFAULT_URL).rstrip("/")
        headers = _authorization(key or os.environ.get("ANNEALER_KEY"))
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout, follow_redirects=True)
        self._timeout = timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def validate(self, spec: Mapping[str, Any]) -> PlanView:
        """What a spec would do; nothing is stored. Raises `Invalid`."""
        return self._read(PlanView, "POST", "/v1/jobs:validate", json=spec)

    def submit(
        self, spec: Mapping[str, Any], *, idempotency_key: str | None = None, owner: str | None = None
    ) -> JobView:
        """Queue a job. Raises `Invalid`, or `TooMany` while the queue is full.

        Owners take turns; `owner` is for servers that ask for no keys, else the job is the key's owner's.
        Sent again when no answer comes: with its key, which is made here when none is given, a submit is done once.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        headers |= {"Annealer-Owner": owner} if owner else {}
        return self._patiently(
            lambda: self._read(JobView, "POST", "/v1/jobs", json=spec, headers=headers), patience=10.0
        )

    def job(self, job_id: str) -> JobView:
        """The job as it is now. Raises `NotFound`."""
        return self._read(JobView, "GET", f"/v1/jobs/{job_id}")

    def jobs(self, *, limit: int | None = None, **filters: Any) -> Iterator[JobView]:
        """Jobs, newest first unless `sort` says otherwise; filters are the API's query parameters."""
        parameters = {key: value for key, value in filters.items() if value not in (None, [], ())}
        left = limit
        while left is None or left > 0:
            parameters["limit"] = min(left or 200, 200)
            page = self._read(JobList, "GET", "/v1/jobs", params=parameters)
            yield from page.items
            if page.next_cursor is None:
                return
            parameters["cursor"] = page.next_cursor
            left = None if left is None else left - len(page.items)

    def watch(self, job_id: str, *, patience: float = PATIENCE_SECONDS) -> Iterator[JobView]:
        """The job now and after each change, until it is final. Survives a server that is away for `patience`."""
        job = self.job(job_id)
        yield job
        while not job.status.is_final:
            changed = self._patiently(lambda: self._changed(job), patience=patience)  # noqa: B023 (called at once)
            if changed:
                job = changed
                yield job

    def events(self, job_id: str, *, follow: bool = False) -> Iterator[EventView]:
        """A job's history; with `follow` as it happens, until the job is final."""
        after = 0
        while True:
            # Read before the events, so that none comes between a final state and the last reading.
            is_final = not follow or self.job(job_id).status.is_final
            page = self._read(EventList, "GET", f"/v1/jobs/{job_id}/events", params={"after": after})
            yield from page.items
            after = page.items[-1].number if page.items else after
            if page.next_after is None:
                if is_final:
                    return
                self._changed(self.job(job_id), wait=5)

    def logs(
        self, job_id: str, *, tail: int | None = None, offset: int | None = None, follow: bool = False
    ) -> Iterator[LogChunkView]:
        """What a job's training processes wrote, or its last `tail` lines; with `follow` as it comes, to the end.

        Where a chunk's `offset` is not the `next_offset` of the one before, the bytes between were cut as too much.
        """
        where: dict[str, int] = {"tail": tail} if tail else {"offset": offset or 0}
        while True:
            page = self._patiently(lambda: self._log(job_id, where, follow), patience=PATIENCE_SECONDS)  # noqa: B023
            yield from page.items
            where = {"offset": page.next_offset}
            if page.complete or not (page.items or follow):
                return

    def cancel(self, job_id: str) -> JobView:
        """Ask for a job's end. Raises `NotFound`, or `Refused` when it has ended otherwise."""
        return self._read(JobView, "POST", f"/v1/jobs/{job_id}/cancel")

    def pause(self, job_id: str) -> JobView:
        """Ask a job to stop until it is resumed. Raises `NotFound`, or `Refused` when it has ended."""
        return self._read(JobView, "POST", f"/v1/jobs/{job_id}/pause")

    def resume(self, job_id: str) -> JobView:
        """Let a paused job go on. Raises `NotFound`, or `Refused` when it has ended."""
        return self._read(JobView, "POST", f"/v1/jobs/{job_id}/resume")

    def retry(self, job_id: str, start: From = "checkpoint") -> JobView:
        """Queue a failed or cancelled job again. Raises `NotFound`, or `Refused` in any other state."""
        return self._read(JobView, "POST", f"/v1/jobs/{job_id}/retry", json={"from": start})

    def prioritize(self, job_id: str, priority: int) -> JobView:
        """Give a job another priority. Raises `NotFound`, or `Refused` when it has ended."""
        return self._read(JobView, "PATCH", f"/v1/jobs/{job_id}", json={"priority": priority})

    def delete(self, job_id: str) -> None:
        """Remove a finished job. Raises `NotFound`, or `Refused` while it is not finished."""
        self._call("DELETE", f"/v1/jobs/{job_id}")

    def metrics(self, job_id: str, **parameters: Any) -> MetricsView:
        """Epochs and series; parameters are the API's: `series`, `from_step`, `to_step`, `max_points`."""
        return self._read(MetricsView, "GET", f"/v1/jobs/{job_id}/metrics", params=parameters)

    def metrics_csv(self, job_id: str, series: str | None = None) -> str:
        """The table of epochs, or the points of one series, as CSV."""
        parameters: dict[str, Any] = {"format": "csv"}
        if series:
            parameters |= {"series": series, "max_points": 100_000}
        return self._call("GET", f"/v1/jobs/{job_id}/metrics", params=parameters).text

    def layers(self, job_id: str, epoch: int | None = None) -> LayerStatisticsList:
        """What was seen inside the network, after one epoch (0: at initialisation) or after each inspected one."""
        parameters = {} if epoch is None else {"epoch": epoch}
        return self._read(LayerStatisticsList, "GET", f"/v1/jobs/{job_id}/layers", params=parameters)

    def snapshots(self, job_id: str) -> list[SnapshotView]:
        """A job's snapshots, oldest first."""
        return self._read(SnapshotList, "GET", f"/v1/jobs/{job_id}/snapshots").items

    def snapshot(self, snapshot_id: str) -> SnapshotView:
        """A snapshot. Raises `NotFound`."""
        return self._read(SnapshotView, "GET", f"/v1/snapshots/{snapshot_id}")

    def download(self, found: SnapshotView | FileView, path: Path) -> None:
        """Write a snapshot's or a job's file, checked against its hash; a broken download goes on where it broke.

        The file has its name once it is whole.
        """
        partial = path.with_name(path.name + ".partial")
        partial.unlink(missing_ok=True)
        self._patiently(lambda: self._download(found, partial), patience=PATIENCE_SECONDS)
        with partial.open("rb") as file:
            digest = sha256()
            while data := file.read(1024 * 1024):
                digest.update(data)
        if digest.hexdigest() != found.sha256:
            partial.unlink()
            raise ClientError(f"{path.name} arrived damaged; download it again.")
        partial.replace(path)

    def files(self, job_id: str) -> Sequence[FileView]:
        """What a job was asked to make, by name; whole once it has succeeded. Raises `NotFound`."""
        return self._read(FileList, "GET", f"/v1/jobs/{job_id}/files").items

    def ensemble(self, id: str) -> EnsembleView:
        """An ensemble by its id, or the one that a job makes by the job's. Raises `NotFound` while there is none."""
        path = f"/v1/ensembles/{id}" if id.startswith("ens_") else f"/v1/jobs/{id}/ensemble"
        return self._read(EnsembleView, "GET", path)

    def make_ensemble(
        self, spec: Mapping[str, Any], *, idempotency_key: str | None = None, owner: str | None = None
    ) -> EnsembleView:
        """Make an ensemble, which the job `job_id` scores. Raises and repeats itself as `submit` does."""
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        headers |= {"Annealer-Owner": owner} if owner else {}
        return self._patiently(
            lambda: self._read(EnsembleView, "POST", "/v1/ensembles", json=spec, headers=headers), patience=10.0
        )

    def ensembles(self, *, limit: int | None = None) -> Iterator[EnsembleView]:
        """Ensembles, newest first, without their reports."""
        parameters: dict[str, Any] = {}
        left = limit
        while left is None or left > 0:
            parameters["limit"] = min(left or 200, 200)
            page = self._read(EnsembleList, "GET", "/v1/ensembles", params=parameters)
            yield from page.items
            if page.next_cursor is None:
                return
            parameters["cursor"] = page.next_cursor
            left = None if left is None else left - len(page.items)

    def delete_ensemble(self, id: str) -> None:
        """Delete one that was made by request. Raises `NotFound`, or `Refused` for another or while it is scored."""
        self._call("DELETE", f"/v1/ensembles/{self.ensemble(id).id}")

    def predict(
        self, id: str, images: Sequence[bytes | Path], *, top_k: int = 5, members: bool = False, patience: float = 10.0
    ) -> PredictionsView:
        """What a snapshot, an ensemble, or the one that a job makes, says of image files or their contents.

        Raises `NotFound`, `Invalid` where an image cannot be read, `Refused` before the ensemble is scored, or
        `ProblemError` while no prediction worker runs for all of `patience`, in seconds.
        """
        contents = [image.read_bytes() if isinstance(image, Path) else image for image in images]
        files = [("images", (f"{place}", content)) for place, content in enumerate(contents)]
        return self._predict(id, {"files": files}, top_k, members, patience)

    def predict_array(
        self, id: str, images: NDArray[Any], *, top_k: int = 5, members: bool = False, patience: float = 10.0
    ) -> PredictionsView:
        """The same of uint8 images (N, C, H, W), or one (C, H, W), of the size that the network takes."""
        file = BytesIO()
        np.save(file, images, allow_pickle=False)
        headers = {"Content-Type": "application/octet-stream"}
        return self._predict(id, {"content": file.getvalue(), "headers": headers}, top_k, members, patience)

    def card(self, ensemble_id: str) -> CardView:
        """The model card of an ensemble. Raises `NotFound`, or `Refused` before it is scored."""
        return self._read(CardView, "GET", f"/v1/ensembles/{ensemble_id}/card")

    def card_markdown(self, ensemble_id: str) -> str:
        """The same as Markdown, which shows `curves.svg` beside it."""
        return self._call("GET", f"/v1/ensembles/{ensemble_id}/card", params={"format": "markdown"}).text

    def curves_svg(self, job_id: str) -> str:
        """Loss and accuracy of a training as a picture. Raises `NotFound`."""
        return self._call("GET", f"/v1/jobs/{job_id}/curves.svg").text

    def report_html(self, job_id: str) -> str:
        """A training as one file. Raises `NotFound`."""
        return self._call("GET", f"/v1/jobs/{job_id}/report.html").text

    def compare(self, job_ids: Sequence[str], *, max_points: int = 500) -> CompareView:
        """Trainings side by side, 2 to 20. Raises `NotFound`."""
        parameters = {"jobs": list(job_ids), "max_points": max_points}
        return self._read(CompareView, "GET", "/v1/compare", params=parameters)

    def datasets(self) -> list[DatasetView]:
        """What specs can name, and what is to become that."""
        found: list[DatasetView] = []
        parameters: dict[str, str] = {}
        while True:
            page = self._read(DatasetList, "GET", "/v1/datasets", params=parameters)
            found += page.items
            if page.next_cursor is None:
                return found
            parameters = {"cursor": page.next_cursor}

    def dataset(self, name: str) -> DatasetDetailView:
        """A data set by its name or id, with all that is known of it. Raises `NotFound`."""
        return self._read(DatasetDetailView, "GET", f"/v1/datasets/{name}")

    def sample(self, name: str) -> bytes:
        """A picture (PNG) of some images of each class. Raises `NotFound`, or `Refused` until the data set is ready."""
        return self._call("GET", f"/v1/datasets/{name}/sample.png").content

    def delete_dataset(self, name: str) -> None:
        """Delete a data set. Raises `NotFound`, or `Refused` while jobs need it."""
        self._call("DELETE", f"/v1/datasets/{name}")

    def upload(
        self,
        path: Path,
        *,
        owner: str | None = None,
        report: Callable[[int, int], None] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> UploadView:
        """Send a file, or a folder as a tar made on the way; begun again, it goes on where it was.

        `report` is told bytes that have arrived and all. Survives a server that is away for `patience` seconds. Raises
        `app.parcel.Unsendable` for what cannot be sent.
        """
        sent = parcel.pack(path)
        announcement = {"name": sent.name, "size": sent.size, "sha256": sent.sha256}
        headers = {"Annealer-Owner": owner} if owner else {}
        upload = self._patiently(
            lambda: self._read(UploadView, "POST", "/v1/uploads", json=announcement, headers=headers),
            patience=patience,
        )
        missing, received = set(upload.missing), upload.received
        tell = report or (lambda received, size: None)
        tell(received, sent.size)
        for number, part in enumerate(sent.parts(upload.part_bytes), 1):
            if number in missing:
                self._patiently(lambda: self._put_part(upload.id, number, part), patience=patience)  # noqa: B023
                received += len(part)
                tell(received, sent.size)
        return self._read(UploadView, "GET", f"/v1/uploads/{upload.id}")

    def make_dataset(
        self,
        source: Mapping[str, Any],
        name: str | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        owner: str | None = None,
        keep_upload: bool = False,
        idempotency_key: str | None = None,
    ) -> DatasetDetailView:
        """Have a data set made of an upload (`{"kind": "upload", "upload": id}`) or by name (`"named"`, `"name"`).

        `links.job` is the import, which `watch` follows. Raises `Invalid`, or `Refused` where the name is taken.
        """
        document = {"source": source, "name": name, "options": options or {}, "keep_upload": keep_upload}
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        headers |= {"Annealer-Owner": owner} if owner else {}
        return self._patiently(
            lambda: self._read(DatasetDetailView, "POST", "/v1/datasets", json=document, headers=headers),
            patience=10.0,
        )

    def workers(self) -> list[WorkerView]:
        """Workers seen lately."""
        return self._read(WorkerList, "GET", "/v1/workers").items

    def drain(self, worker_id: str) -> None:
        """Let a worker take no jobs, and hand back those that it runs. Raises `NotFound`, or `Forbidden`."""
        self._call("POST", f"/v1/workers/{worker_id}/drain")

    def undrain(self, worker_id: str) -> None:
        """Let it take jobs again. Raises `NotFound`, or `Forbidden`."""
        self._call("POST", f"/v1/workers/{worker_id}/resume")

    def ready(self) -> ReadinessView:
        """Whether the server can serve, and what is missing."""
        answer = self._send("GET", "/readyz")
        return ReadinessView.model_validate_json(answer.content)

    def _predict(self, id: str, body: Mapping[str, Any], top_k: int, members: bool, patience: float) -> PredictionsView:
        parameters = {"top_k": top_k, "members": members}
        timeout = self._timeout + LONGEST_WAIT

        def ask() -> PredictionsView:
            path = f"{self._model_path(id)}/predict"
            return self._read(PredictionsView, "POST", path, params=parameters, timeout=timeout, **body)

        return self._patiently(ask, patience=patience)

    def predict_dataset(
        self, id: str, spec: Mapping[str, Any], *, idempotency_key: str | None = None, owner: str | None = None
    ) -> JobView:
        """Queue the job that predicts a whole data set, as `PredictionSpec` says; its table is among its `files`.

        `id` is that of a snapshot, an ensemble, or a job that makes one. Raises and repeats itself as `submit` does.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        headers |= {"Annealer-Owner": owner} if owner else {}
        path = f"{self._model_path(id)}/batch-predict"
        return self._patiently(
            lambda: self._read(JobView, "POST", path, json=spec, headers=headers), patience=PATIENCE_SECONDS
        )

    def export(self, id: str, format: ExportFormat = "onnx") -> JobView:
        """The job that makes one file of a model for other programs; asked again, it is the same. `files` has it."""
        path = f"{self._model_path(id)}/export"
        return self._patiently(
            lambda: self._read(JobView, "POST", path, json={"format": format}), patience=PATIENCE_SECONDS
        )

    def _model_path(self, id: str) -> str:
        """Where a snapshot, an ensemble, or the one that a job makes, is."""
        if id.startswith("snap_"):
            return f"/v1/snapshots/{id}"
        return f"/v1/ensembles/{id if id.startswith('ens_') else self.ensemble(id).id}"

    def _changed(self, job: JobView, wait: int = LONGEST_WAIT) -> JobView | None:
        """The job once it is another than `job`, or None after `wait` seconds without a change."""
        headers = {"If-None-Match": f'"{job.version}"', "Prefer": f"wait={wait}"}
        timeout = self._timeout + wait
        answer = self._call("GET", f"/v1/jobs/{job.id}", headers=headers, timeout=timeout)
        return None if answer.status_code == 304 else JobView.model_validate_json(answer.content)

    def _log(self, job_id: str, where: Mapping[str, int], follow: bool) -> LogView:
        wait = LONGEST_WAIT if follow else 0
        headers = {"Prefer": f"wait={wait}"}
        timeout = self._timeout + wait
        return self._read(LogView, "GET", f"/v1/jobs/{job_id}/logs", params=where, headers=headers, timeout=timeout)

    def _put_part(self, upload_id: str, number: int, part: bytes) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        timeout = httpx.Timeout(self._timeout, write=PATIENCE_SECONDS, read=PATIENCE_SECONDS)
        self._call("PUT", f"/v1/uploads/{upload_id}/parts/{number}", content=part, headers=headers, timeout=timeout)

    def _download(self, found: SnapshotView | FileView, partial: Path) -> None:
        have = partial.stat().st_size if partial.exists() else 0
        if have == found.size:
            return
        headers = {"Range": f"bytes={have}-", "If-Range": f'"{found.sha256}"'} if have else {}
        address = found.weights if isinstance(found, SnapshotView) else found.url
        try:
            with self._http.stream("GET", address, headers=headers) as answer:
                if answer.is_error:
                    answer.read()
                    raise _refusal(answer)
                with partial.open("ab" if answer.status_code == 206 else "wb") as file:
                    for data in answer.iter_bytes():
                        file.write(data)
        except httpx.TransportError as error:
            raise Unreachable(self.url, type(error).__name__) from error

    def _patiently(self, act: Callable[[], T], *, patience: float) -> T:
        """`act`, again while no answer comes or the server is not ready, for `patience` seconds."""
        deadline = time.monotonic() + patience
        pause = 0.1
        while True:
            try:
                return act()
            except (Unreachable, ProblemError) as error:
                passing = isinstance(error, Unreachable) or error.problem.status in PASSING
                if isinstance(error, ProblemError):
                    pause = max(pause, error.retry_after)
                if not passing or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, 2.0)

    def _read(self, model: type[V], method: str, path: str, **arguments: Any) -> V:
        return model.model_validate_json(self._call(method, path, **arguments).content)

    def _call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        answer = self._send(method, path, **arguments)
        if answer.is_error:
            raise _refusal(answer)
        return answer

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise Unreachable(self.url, type(error).__name__) from error


def _authorization(key: str | None) -> dict[str, str]:
    if not key:
        return {}
    if keytext.prefix(key.strip()) is None:
        raise ClientError("The key is none: it is ann_, 8 letters or digits, _ and 32 more. Look at ANNEALER_KEY.")
    return {"Authorization": f"Bearer {key.strip()}"}


def _refusal(answer: httpx.Response) -> ProblemError:
    try:
        problem = ProblemView.model_validate_json(answer.content)
    except ValidationError:
        problem = _foreign(answer)
    retry_after = answer.headers.get("Retry-After", "")
    seconds = float(retry_after) if retry_after.isdecimal() else 0.0
    return KINDS.get(answer.status_code, ProblemError)(problem, seconds)


def _foreign(answer: httpx.Response) -> ProblemView:
    """A refusal by something that is not Annealer, such as a proxy."""
    detail = f"{answer.url} answered {answer.status_code} {answer.reason_phrase}."
    document = {"type": "about:blank", "title": answer.reason_phrase, "status": answer.status_code}
    document |= {"detail": detail, "instance": answer.url.path, "request_id": None}
    return ProblemView.model_validate_json(json.dumps(document))
