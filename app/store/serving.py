"""What is needed to predict with a snapshot or an ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.orm import Session

from app.store import ensembles, snapshots
from app.store.errors import NotScored
from app.store.models import Job, Snapshot

Combination = Literal["mean", "geometric_mean", "majority_vote"]


@dataclass(frozen=True)
class Share:
    """A snapshot, its file and its weight."""

    snapshot_id: str
    sha256: str
    weight: float


@dataclass(frozen=True)
class Served:
    """Networks that predict together: images of `shape` (C, H, W) in, one of `classes` out."""

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    shares: tuple[Share, ...]
    combine: Combination = "mean"
    temperature: float | None = None


def snapshot(session: Session, snapshot_id: str) -> Served:
    """A snapshot alone. Raises `NotFound`."""
    return _served([(snapshots.get(session, snapshot_id), 1.0)])


def ensemble(session: Session, ensemble_id: str) -> Served:
    """An ensemble as it was scored. Raises `NotFound`, or `NotScored` before that."""
    found = ensembles.get(session, ensemble_id)
    members = ensembles.members(session, ensemble_id)
    if found.accuracy is None or any(member.weight is None for member in members):
        raise NotScored(ensemble_id)
    shares = [(member.snapshot, member.weight or 0.0) for member in members]
    if found.kind != ensembles.COMBINED:
        return _served(shares)
    heat = (found.report or {}).get("temperature")
    combine = session.get_one(Job, found.job_id).spec["combine"]
    return _served(shares, combine, heat["value"] if heat else None)


def _served(
    shares: Sequence[tuple[Snapshot, float]], combine: Combination = "mean", temperature: float | None = None
) -> Served:
    first = shares[0][0].provenance
    channels, height, width = first["input_shape"]
    return Served(
        classes=tuple(first["classes"]),
        shape=(channels, height, width),
        shares=tuple(Share(one.id, one.sha256, weight) for one, weight in shares),
        combine=combine,
        temperature=temperature,
    )
