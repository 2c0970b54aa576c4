"""Rounds of pruning: that they divide the epochs, and leave weights."""

from collections.abc import Iterator

from trainer import sparsity
from trainer.errors import Mistake
from trainer.layers import LayerRow
from trainer.spec import TrainingSpec


def mistakes(spec: TrainingSpec, rows: tuple[LayerRow, ...]) -> Iterator[Mistake]:
    """Of epochs that cannot be shared among the trainings, and of the first layer that would be left empty."""
    pruning = spec.pruning
    if not pruning:
        return
    if spec.epochs % spec.trainings:
        fitting = [number - 1 for number in range(2, spec.epochs + 1) if spec.epochs % number == 0 and number <= 101]
        nearest = min(fitting, key=lambda rounds: abs(rounds - pruning.rounds), default=None)
        epochs = spec.trainings * max(1, round(spec.epochs / spec.trainings))
        yield Mistake(
            "/pruning/rounds",
            "not_divisible",
            f"{pruning.rounds} rounds make {spec.trainings} trainings, into which {spec.epochs} epochs cannot be "
            f"divided; use {'' if nearest is None else f'{nearest} rounds or '}{epochs} epochs.",
        )
    for name, weights, rate in sparsity.shares(pruning, rows):
        if not sparsity.left(weights, rate, pruning.rounds):
            most = next(rounds for rounds in range(100, -1, -1) if sparsity.left(weights, rate, rounds))
            yield Mistake(
                "/pruning/rate",
                "nothing_left",
                f"At this rate nothing is left of the {weights:,} weights of {name} after {pruning.rounds} rounds; use "
                f"a lower rate{f' or at most {most} rounds' if most else ''}.",
            )
            return
