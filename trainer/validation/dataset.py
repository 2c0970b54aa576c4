"""The data set itself: that it has images for a batch, and the classes that the network is to have."""

from collections.abc import Iterator

from trainer.data import DataFacts
from trainer.errors import Mistake
from trainer.spec import TrainingSpec


def mistakes(spec: TrainingSpec, facts: DataFacts) -> Iterator[Mistake]:
    """Of sizes that are not the data set's."""
    if spec.batch_size > facts.train_count:
        is_default = "" if "batch_size" in spec.model_fields_set else f", which is {spec.batch_size} by default"
        yield Mistake(
            "/batch_size",
            "larger_than_split",
            f"A batch of {spec.batch_size} is larger than the training split of {facts.name}, which has "
            f"{facts.train_count} images; give a smaller batch_size{is_default}.",
        )
    if spec.network.classes not in (None, len(facts.classes)):
        yield Mistake(
            "/network/classes",
            "wrong_class_count",
            f"{facts.name} has {len(facts.classes)} classes, not {spec.network.classes}; leave `classes` out or "
            "correct it.",
        )
