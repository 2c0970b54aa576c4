"""What was seen inside a job's network: a row a layer and inspected epoch."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.store.models import LayerStats
from trainer.events import LayersInspected


def of_job(session: Session, job_id: str, epoch: int | None = None) -> Sequence[LayerStats]:
    """A job's layers in the order of epochs, then of the network; only those of one epoch where it is given."""
    query = select(LayerStats).where(LayerStats.job_id == job_id)
    if epoch is not None:
        query = query.where(LayerStats.epoch == epoch)
    return session.scalars(query.order_by(LayerStats.epoch, LayerStats.index)).all()


def store(session: Session, job_id: str, inspected: LayersInspected) -> None:
    """Keep what was seen; seen twice, it is kept once."""
    for one in inspected.layers:
        session.merge(
            LayerStats(
                job_id=job_id,
                epoch=inspected.epoch,
                index=one.index,
                step=inspected.step,
                name=one.name,
                kind=one.kind,
                activation_mean=one.activations.mean,
                activation_std=one.activations.std,
                activation_histogram=list(one.activations.histogram),
                gradient_mean=one.gradients.mean,
                gradient_std=one.gradients.std,
                gradient_histogram=list(one.gradients.histogram),
                dead=one.dead,
                saturated=one.saturated,
                symmetric=one.symmetric,
                weight_norm=one.weight_norm,
                weight_gradient_norm=one.gradient_norm,
                update_ratio=one.update_ratio,
            )
        )


def forget_after(session: Session, job_id: str, step: int) -> None:
    """Remove what was seen after `step`: it will be seen again."""
    session.execute(delete(LayerStats).where(LayerStats.job_id == job_id, LayerStats.step > step))
