"""Several devices: that each has a share in every batch."""

from collections.abc import Iterator
from math import prod

from trainer.data import DataFacts
from trainer.errors import Mistake
from trainer.layers import BatchNormalization, LayerRow
from trainer.spec import TrainingSpec


def mistakes(spec: TrainingSpec, facts: DataFacts, rows: tuple[LayerRow, ...]) -> Iterator[Mistake]:
    """Of batches too small to share, and of parts too small for a batch norm of their own."""
    if spec.devices == 1:
        return
    smallest, which = _smallest_batch(spec, facts)
    remedy = "use fewer devices" + (", another batch_size or last_batch: drop." if which != "A batch" else ".")
    if smallest < spec.devices:
        yield Mistake(
            "/devices",
            "batch_cannot_be_shared",
            f"{which} has {smallest} {'image' if smallest == 1 else 'images'}, which {spec.devices} devices cannot "
            f"share; {remedy}",
        )
        return
    norm = next((row for row in rows if _normalizes_images_alone(row)), None)
    if norm and not spec.execution.sync_batch_norm and smallest // spec.devices == 1:
        yield Mistake(
            "/execution/sync_batch_norm",
            "single_value_batch_norm",
            f"{which} leaves a device one image, and batch norm in layer {norm.index} ({norm.name}) needs at least two "
            f"values a channel; set sync_batch_norm to true, or {remedy}",
        )


def _smallest_batch(spec: TrainingSpec, facts: DataFacts) -> tuple[int, str]:
    """The images of the smallest batch of an epoch, and what to call it."""
    rest = facts.train_count % spec.batch_size
    if rest and spec.last_batch == "keep":
        return rest, "The last batch of an epoch"
    return spec.batch_size, "A batch"


def _normalizes_images_alone(row: LayerRow) -> bool:
    return row.kind == BatchNormalization.__name__ and prod(row.input_shape[1:]) == 1
