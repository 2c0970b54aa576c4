"""What a training measured: a plain row an epoch, and per-step series in columnar blocks.

A block holds up to `BLOCK_POINTS` consecutive points, all steps, then all values, as little-endian float64. A
million points are some twenty megabytes in a few hundred rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, func, or_, select, tuple_
from sqlalchemy.orm import Session
from tsdownsample import MinMaxDownsampler

from app.store.models import Epoch, Job, SeriesBlock

BLOCK_POINTS = 2048
FEWEST_POINTS = 6
SKETCH_POINTS = 40
"""About so many make a curve that is as small as a word."""

Column = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """Points of a per-step series; `count` is how many there were before downsampling."""

    steps: Column
    values: Column
    count: int


def epochs(session: Session, job_id: str) -> Sequence[Epoch]:
    """A job's epochs, in order."""
    return session.scalars(select(Epoch).where(Epoch.job_id == job_id).order_by(Epoch.epoch)).all()


def latest(session: Session, job_ids: Sequence[str]) -> dict[str, Epoch]:
    """The newest epoch of each job that has one."""
    newest = select(Epoch.job_id, func.max(Epoch.epoch)).where(Epoch.job_id.in_(job_ids))
    query = select(Epoch).where(tuple_(Epoch.job_id, Epoch.epoch).in_(newest.group_by(Epoch.job_id)))
    return {epoch.job_id: epoch for epoch in session.scalars(query)}


def validation_accuracies(session: Session, job_ids: Sequence[str]) -> dict[str, list[float]]:
    """Of each job that has epochs, every so manyth epoch's validation accuracy and the newest, to draw it small.

    How many are left out follows from the epochs that are planned, and so points that are drawn stay.
    """
    stride = (Job.epochs - 1) // SKETCH_POINTS + 1
    newest = select(func.max(Epoch.epoch)).where(Epoch.job_id == Job.id).correlate(Job).scalar_subquery()
    query = select(Epoch.job_id, Epoch.validation_accuracy).join(Job, Job.id == Epoch.job_id)
    chosen = or_(Epoch.epoch % stride == 0, Epoch.epoch == newest)
    rows = session.execute(query.where(Epoch.job_id.in_(job_ids), chosen).order_by(Epoch.job_id, Epoch.epoch))
    found: dict[str, list[float]] = {}
    for job_id, accuracy in rows:
        found.setdefault(job_id, []).append(accuracy)
    return found


def names(session: Session, job_id: str) -> Sequence[str]:
    """The series that a job has, by name."""
    query = select(SeriesBlock.name).where(SeriesBlock.job_id == job_id).distinct()
    return session.scalars(query.order_by(SeriesBlock.name)).all()


def series(
    session: Session,
    job_id: str,
    name: str,
    *,
    from_step: int = 1,
    to_step: int | None = None,
    max_points: int | None = None,
) -> Series:
    """Points from `from_step` to `to_step` (inclusive), at most `max_points` of them.

    Where there are more, those are kept that draw the same picture: the first, the last, and the minimum and
    maximum of equal stretches between, so that no spike is lost. Same points, same choice.
    """
    query = select(SeriesBlock.points).where(
        SeriesBlock.job_id == job_id, SeriesBlock.name == name, SeriesBlock.last_step >= from_step
    )
    if to_step is not None:
        query = query.where(SeriesBlock.first_step <= to_step)
    blocks = session.scalars(query.order_by(SeriesBlock.first_step)).all()
    if not blocks:
        return Series(np.empty(0), np.empty(0), 0)
    columns = [unpack(block) for block in blocks]
    steps = np.concatenate([column[0] for column in columns])
    values = np.concatenate([column[1] for column in columns])
    chosen = slice(
        np.searchsorted(steps, from_step),
        None if to_step is None else np.searchsorted(steps, to_step, side="right"),
    )
    return downsample(steps[chosen], values[chosen], max_points)


def downsample(steps: Column, values: Column, max_points: int | None) -> Series:
    """At most `max_points` (at least `FEWEST_POINTS`) of the points, extremes and both ends among them."""
    count = len(steps)
    if max_points is None or count <= max_points:
        return Series(steps, values, count)
    inner = max(FEWEST_POINTS, max_points) // 2 * 2 - 2
    extremes = MinMaxDownsampler().downsample(steps, values, n_out=inner)  # type: ignore[no-untyped-call]
    kept = np.union1d(extremes.astype(np.int64), [0, count - 1])
    return Series(steps[kept], values[kept], count)


def append(session: Session, job_id: str, name: str, steps: Sequence[int], values: Sequence[float]) -> None:
    """Add points whose steps rise. Points that are there already are left as they are."""
    last = _last_block(session, job_id, name)
    fresh = np.asarray(steps, np.float64), np.asarray(values, np.float64)
    if last:
        new = fresh[0] > last.last_step
        fresh = fresh[0][new], fresh[1][new]
        if last.count < BLOCK_POINTS:
            old = unpack(last.points)
            fresh = np.concatenate([old[0], fresh[0]]), np.concatenate([old[1], fresh[1]])
            _fill(last, fresh[0][:BLOCK_POINTS], fresh[1][:BLOCK_POINTS])
            fresh = fresh[0][BLOCK_POINTS:], fresh[1][BLOCK_POINTS:]
    for start in range(0, len(fresh[0]), BLOCK_POINTS):
        block = SeriesBlock(job_id=job_id, name=name)
        _fill(block, fresh[0][start : start + BLOCK_POINTS], fresh[1][start : start + BLOCK_POINTS])
        session.add(block)
    session.flush()


def forget_after(session: Session, job_id: str, step: int) -> None:
    """Remove epochs and points after `step`: they will be reported again."""
    session.execute(delete(Epoch).where(Epoch.job_id == job_id, Epoch.step > step))
    session.execute(delete(SeriesBlock).where(SeriesBlock.job_id == job_id, SeriesBlock.first_step > step))
    query = select(SeriesBlock).where(SeriesBlock.job_id == job_id, SeriesBlock.last_step > step)
    for block in session.scalars(query):
        steps, values = unpack(block.points)
        _fill(block, steps[steps <= step], values[steps <= step])


def unpack(points: bytes) -> tuple[Column, Column]:
    """Steps and values of a block."""
    steps, values = np.frombuffer(points, "<f8").reshape(2, -1)
    return steps, values


def _fill(block: SeriesBlock, steps: Column, values: Column) -> None:
    block.first_step, block.last_step = int(steps[0]), int(steps[-1])
    block.count = len(steps)
    block.minimum, block.maximum = float(values.min()), float(values.max())
    block.points = np.stack([steps, values]).astype("<f8").tobytes()


def _last_block(session: Session, job_id: str, name: str) -> SeriesBlock | None:
    query = select(SeriesBlock).where(SeriesBlock.job_id == job_id, SeriesBlock.name == name)
    return session.scalars(query.order_by(SeriesBlock.first_step.desc()).limit(1)).first()
