"""What a spec means for a data set: every mistake between fields, or the plan of the training.

Pure arithmetic, no torch: the API answers with it before anything is stored, and the trainer asks it again.
"""

from dataclasses import dataclass

from trainer import networks
from trainer.data import DataFacts
from trainer.errors import SpecInvalid, SpecWarning
from trainer.layers import Layer, LayerRow, ShapeMismatch, parameters, table
from trainer.memory import Memory, estimate
from trainer.schedule import boundary_rates, snapshot_epochs
from trainer.spec import TrainingSpec
from trainer.validation import (
    dataset,
    devices,
    ensemble,
    execution,
    images,
    initialization,
    network,
    pruning,
    schedule,
    updates,
)


@dataclass(frozen=True)
class Plan:
    """What will happen: the layers, the rate at the start of each epoch, the epochs that end in a snapshot.

    Of several members, the rates are those of each, and epochs are counted through. `multiply_adds` is for one image,
    forward; `activations` counts the values that training keeps of one image.
    """

    spec: TrainingSpec
    layers: tuple[LayerRow, ...]
    parameters: int
    multiply_adds: int
    activations: int
    memory: Memory
    steps_per_epoch: int
    learning_rates: tuple[float, ...]
    snapshot_epochs: tuple[int, ...]
    warnings: tuple[SpecWarning, ...]

    @property
    def steps(self) -> int:
        """Updates of all members."""
        return self.steps_per_epoch * self.spec.total_epochs


def check(spec: TrainingSpec, facts: DataFacts) -> Plan:
    """The plan of training `spec` on the data set. Raises `SpecInvalid` with every mistake."""
    mistakes = [
        *schedule.mistakes(spec),
        *updates.mistakes(spec),
        *ensemble.mistakes(spec),
        *dataset.mistakes(spec, facts),
        *images.mistakes(spec, facts),
    ]
    layers: tuple[Layer, ...] = ()
    rows: tuple[LayerRow, ...] = ()
    try:
        layers = networks.describe(spec.network, facts.shape, len(facts.classes))
        rows = table(layers, facts.shape)
        mistakes += network.mistakes(spec, facts, layers, rows)
        mistakes += devices.mistakes(spec, facts, rows)
        mistakes += updates.layer_rate_mistakes(spec, rows)
        mistakes += initialization.mistakes(spec.network, layers, rows, facts.train_count)
        mistakes += pruning.mistakes(spec, rows)
    except ShapeMismatch as mismatch:
        mistakes.append(network.misfit(spec.network, mismatch))
    if mistakes:
        raise SpecInvalid(mistakes)
    an_epoch = steps_per_epoch(spec, facts.train_count)
    of_a_member = an_epoch * spec.epochs
    return Plan(
        spec=spec,
        layers=rows,
        parameters=parameters(rows),
        multiply_adds=sum(row.multiply_adds for row in rows),
        activations=sum(row.activations for row in rows),
        memory=estimate(spec, rows),
        steps_per_epoch=an_epoch,
        learning_rates=_boundary_rates(spec),
        snapshot_epochs=_snapshot_epochs(spec),
        warnings=(
            *updates.warnings(spec),
            *schedule.warnings(spec),
            *ensemble.warnings(spec, of_a_member),
            *images.warnings(spec, facts, rows),
            *execution.warnings(spec, rows, of_a_member),
            *network.warnings(spec, layers, rows),
            *initialization.warnings(spec.network, layers, rows),
        ),
    )


def steps_per_epoch(spec: TrainingSpec, train_count: int) -> int:
    """Updates in one pass over `train_count` images."""
    full, rest = divmod(train_count, spec.batch_size)
    return full + (1 if rest and spec.last_batch == "keep" else 0)


def _boundary_rates(spec: TrainingSpec) -> tuple[float, ...]:
    """The rate at each epoch boundary: the schedule's, once for each training."""
    rates = boundary_rates(spec.schedule, spec.epochs_each)
    return (*rates[:-1] * (spec.trainings - 1), *rates)


def _snapshot_epochs(spec: TrainingSpec) -> tuple[int, ...]:
    """Of independent members the last epoch of each; else the schedule's, once for each training."""
    if spec.members > 1:
        return tuple(range(spec.epochs, spec.total_epochs + 1, spec.epochs))
    each = snapshot_epochs(spec.schedule, spec.epochs_each)
    return tuple(number * spec.epochs_each + epoch for number in range(spec.trainings) for epoch in each)
