"""Looks whether a service can do its work from here, and says of each thing that is wrong what to do about it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import Engine, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from app import __version__
from app.queue import Bell
from app.settings import SCRATCH, place_of
from app.store import engine as engines
from app.store import migrate, objects, workers
from app.store.clock import now
from app.store.engine import read
from app.store.errors import ContentMissing, StorageAway

State = Literal["ok", "warning", "problem", "skipped"]

SCARCE_BYTES = 2 * 1024**3
FEWEST_BYTES = 200 * 1024**2
CLOCK_SECONDS = 5.0
TORCH_SECONDS = 120.0
TORCH = """
import json, torch
print(json.dumps({
    "version": torch.__version__,
    "devices": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
}))
"""


@dataclass(frozen=True)
class Finding:
    """What one check has found; `remedy` is there where something is wrong."""

    check: str
    state: State
    detail: str
    remedy: str | None = None


@dataclass(frozen=True)
class Place:
    """A service as seen from here: its database, its broker, the folders it writes to. None where it has none."""

    database_url: str | None
    broker_url: str | None
    folders: tuple[Path, ...]


def scratch_folders() -> tuple[Path, ...]:
    """Where a worker that is started here keeps files on their way into the database; nowhere where none can run."""
    return (Path(os.environ.get("ANNEALER_WORKER_SCRATCH") or SCRATCH),) if _has_torch() else ()


def examine(place: Place) -> Iterator[Finding]:
    """Every finding, as it is made."""
    yield Finding("version", "ok", f"Annealer {__version__}, Python {sys.version.split()[0]}")
    yield from _database(place.database_url)
    yield _broker(place.broker_url)
    yield from _storage(os.environ.get("ANNEALER_BLOBS", "sql"))
    for folder in place.folders:
        yield _disk(folder)
    yield _devices()


def is_well(findings: list[Finding]) -> bool:
    """Whether nothing stands in the way of work."""
    return all(finding.state != "problem" for finding in findings)


def as_json(findings: list[Finding]) -> str:
    """The findings for programs."""
    document = {"ok": is_well(findings), "checks": [asdict(finding) for finding in findings]}
    return json.dumps(document, indent=2, ensure_ascii=False)


def _database(url: str | None) -> Iterator[Finding]:
    if url is None:
        remedy = "Set ANNEALER_DATABASE_URL, or name the folder of `annealer up` with --data."
        yield Finding("database", "problem", "Nothing says where the database is.", remedy)
        return
    try:
        where = make_url(url)
        engine = engines.create(url)
    except (ArgumentError, ImportError) as error:
        remedy = "Give postgresql+psycopg://user:password@host/name or sqlite:////path."
        yield Finding("database", "problem", f"Its URL cannot be understood ({type(error).__name__}).", remedy)
        return
    shown = where.render_as_string(hide_password=True)
    try:
        yield from _stored(engine, shown)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        if where.get_backend_name() == "sqlite":
            remedy = "Is this the file of a service, in a folder that we may write to? Else restore a backup."
        else:
            remedy = "Start it, or mend its URL; the host must be reachable from here and the password right."
        yield Finding("database", "problem", f"{shown} cannot be reached: {reason}", remedy)
    finally:
        engine.dispose()


def _stored(engine: Engine, shown: str) -> Iterator[Finding]:
    with read(engine) as session:
        theirs = session.scalars(select(now())).one()
        ours = datetime.now(UTC)
    yield Finding("database", "ok", f"{shown} answers")
    yield _clock((ours - theirs).total_seconds())
    try:
        migrate.check_schema(engine)
    except migrate.SchemaMismatch as error:
        yield Finding("migrations", "problem", error.detail, f"{error.remedy[0].upper()}{error.remedy[1:]}")
        return
    yield Finding("migrations", "ok", f"The schema is at version {migrate.revisions()[0]}")
    yield from _workers(engine)


def _clock(ahead: float) -> Finding:
    detail = f"This clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
    if abs(ahead) < CLOCK_SECONDS:
        return Finding("clock", "ok", detail)
    remedy = "Let both hosts keep their time by NTP. Leases go by the database's clock; only times in logs mislead."
    return Finding("clock", "warning", detail, remedy)


def _workers(engine: Engine) -> Iterator[Finding]:
    with read(engine) as session:
        alive = [worker for worker, is_alive in workers.all_of_them(session) if is_alive]
    if not alive:
        remedy = "Start one: `annealer up`, or `python -m worker` with the same database and broker."
        yield Finding("workers", "problem", "None is alive: jobs will wait", remedy)
        return
    if all(worker.is_drained for worker in alive):
        remedy = f"Let one take jobs again: `annealer drain {alive[0].id} --undo`."
        yield Finding("workers", "warning", f"{len(alive)} alive, all of them drained: jobs will wait", remedy)
        return
    yield Finding("workers", "ok", f"{len(alive)} alive, {sum(worker.slots for worker in alive)} slots")
    others = sorted({worker.version for worker in alive} - {__version__})
    if others:
        remedy = "Upgrade them and this installation to one version."
        yield Finding("workers", "warning", f"Some are of version {', '.join(others)}", remedy)


def _broker(url: str | None) -> Finding:
    if url is None:
        remedy = "Set ANNEALER_BROKER_URL; `annealer up` has one of its own while it runs."
        return Finding("broker", "skipped", "Nothing says where the broker is", remedy)
    try:
        answers = Bell(url).answers()
    except Exception as error:
        remedy = "Give redis://:password@host:6379/0."
        return Finding("broker", "problem", f"Its URL cannot be understood ({type(error).__name__})", remedy)
    if answers:
        return Finding("broker", "ok", "It answers")
    remedy = "Start it, or mend ANNEALER_BROKER_URL. Until then new jobs start some seconds later; nothing is lost."
    return Finding("broker", "problem", "It cannot be reached", remedy)


def _storage(blobs: str) -> Iterator[Finding]:
    """Where files go that do not go into the database: stored, read and removed once."""
    try:
        where = place_of(blobs)
    except ValueError as error:
        yield Finding("storage", "problem", f"ANNEALER_BLOBS is {blobs}", str(error))
        return
    if where is None:
        return
    probe, content = f"{where}/probe-{uuid4().hex}", b"annealer"
    try:
        objects.put(probe, BytesIO(content))
        is_whole = objects.read(probe, 0, len(content)) == content
        objects.delete(probe)
    except (StorageAway, ContentMissing) as error:
        remedy = "Is the folder or bucket there, and may we write to it? For S3 look at the variables AWS_…."
        yield Finding("storage", "problem", str(error), remedy)
        return
    if is_whole:
        yield Finding("storage", "ok", f"{where} stores files")
    else:
        yield Finding("storage", "problem", f"{where} gives back other bytes than it got", "Use another storage.")


def _disk(folder: Path) -> Finding:
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not os.access(there, os.W_OK):
        remedy = f"Let user {os.getuid()} write there, or choose another folder."
        return Finding("disk", "problem", f"{folder} cannot be written to", remedy)
    free = shutil.disk_usage(there).free
    detail = f"{folder}: {free / 1024**3:,.1f} GiB free"
    if free >= SCARCE_BYTES:
        return Finding("disk", "ok", detail)
    remedy = "Make room: `annealer gc --dry-run` says what is over its limits, `annealer delete` removes jobs."
    return Finding("disk", "warning" if free >= FEWEST_BYTES else "problem", detail, remedy)


def _has_torch() -> bool:
    return find_spec("torch") is not None


def _devices(run: Callable[..., "subprocess.CompletedProcess[str]"] = subprocess.run) -> Finding:
    """Asked in a process of its own: torch is large, and its CUDA part may break."""
    if not _has_torch():
        return Finding("devices", "skipped", "PyTorch is not installed here: this is no worker")
    try:
        done = run([sys.executable, "-c", TORCH], capture_output=True, text=True, timeout=TORCH_SECONDS)
    except subprocess.TimeoutExpired:
        remedy = "Is the GPU's driver stuck? `nvidia-smi` should answer at once."
        return Finding("devices", "problem", f"PyTorch did not start within {TORCH_SECONDS:g} s", remedy)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        remedy = "Install it again with constraints.txt, from the index that fits this machine's GPU."
        return Finding("devices", "problem", f"PyTorch cannot be used: {last}", remedy)
    found: dict[str, Any] = json.loads(done.stdout)
    devices = ", ".join(found["devices"]) or "the CPU"
    wants_gpu = os.environ.get("ANNEALER_WORKER_DEVICE") == "cuda"
    if wants_gpu and not found["devices"]:
        remedy = "Install the driver and a PyTorch with CUDA, or set ANNEALER_WORKER_DEVICE to auto."
        detail = f"ANNEALER_WORKER_DEVICE is cuda, but PyTorch {found['version']} finds no GPU"
        return Finding("devices", "problem", detail, remedy)
    return Finding("devices", "ok", f"PyTorch {found['version']} on {devices}")
