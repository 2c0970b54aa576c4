"""A whole training: its events, its bits across a stop, its result."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

from tests.specs import dataset, spec
from trainer import checkpoint, data, snapshot
from trainer.augment import mixup_share
from trainer.batches import Batches
from trainer.data import DataSet, Split
from trainer.device import choose
from trainer.errors import CheckpointDamaged, Diverged, SpecInvalid
from trainer.evaluate import log_probabilities, scores
from trainer.events import (
    CheckpointReady,
    EnsembleScored,
    EpochFinished,
    Event,
    LayersInspected,
    NetworkPruned,
    PhaseStarted,
    SnapshotTaken,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
    TrainingStopped,
)
from trainer.feed import Resident
from trainer.initialize import draw
from trainer.randomness import generator
from trainer.schedule import boundary_rates, learning_rate
from trainer.spec import TrainingSpec
from trainer.train import Resume, Training, train

E = TypeVar("E", bound=Event)

TINY = dataset()
COLOUR = dataset(shape=(3, 8, 8))

PLATEAU = {"kind": "plateau", "learning_rate": 0.05, "patience": 1, "threshold": 0.9}
NORMALIZED = {
    "network": {"kind": "convnet", "channels": [3], "batch_norm": {}, "dropout": {"drop": 0.3}},
    "augmentation": [{"kind": "random_crop", "padding": 1}],
}
MIXED = {"augmentation": [{"kind": "random_crop", "padding": 1}, {"kind": "mixup"}]}
GRID = [
    {},
    {"network": {"kind": "convnet", "channels": [3], "batch_norm": {}, "dropout": {"drop": 0.3}}},
    {"network": {"kind": "mlp", "hidden": [5], "dropout": {"drop": 0.3, "form": "classic"}}},
    {"network": {"kind": "resnet", "depth": 8, "dropout": {"drop": 0.3, "after": ["stage1.block1.conv1"]}}},
    {
        "network": {
            "kind": "layers",
            "batch_norm": {},
            "layers": [
                {"kind": "convolution", "channels": 3},
                {"kind": "local_response_norm"},
                {"kind": "max_pool", "size": 3, "stride": 2, "padding": 1},
                {
                    "kind": "residual",
                    "branch": [{"kind": "convolution", "channels": 3, "padding": 1}, {"kind": "dropout", "drop": 0.2}],
                },
                {"kind": "activation"},
            ],
        }
    },
    {"optimizer": {"kind": "sgd", "momentum": {"form": "none"}}},
    {"optimizer": {"kind": "sgd", "momentum": {"form": "averaged", "start": "gradient"}}},
    {"optimizer": {"kind": "sgd", "momentum": {"form": "averaged"}}, "regularization": {"weight_decay": 0.01}},
    {"optimizer": {"kind": "sgd", "momentum": {"form": "nesterov"}}, "last_batch": "drop"},
    {"augmentation": [{"kind": "random_crop", "padding": 1}, {"kind": "horizontal_flip"}]},
    {"schedule": {"kind": "exponential", "learning_rate": 0.05, "k": 0.1}, "ensemble": {"kind": "none"}},
    {
        "network": {"kind": "convnet", "channels": [3], "batch_norm": {}},
        "optimizer": {"kind": "adam", "amsgrad": True},
        "regularization": {"l1": 0.001, "max_norm": 0.5, "gradient_clipping": {"norm": 0.5}},
    },
    {"optimizer": {"kind": "adagrad"}, "regularization": {"decoupled_weight_decay": 0.1}},
    {
        "optimizer": {"kind": "rmsprop", "momentum": 0.5, "centered": True},
        "schedule": {"kind": "plateau", "learning_rate": 0.02, "patience": 1, "threshold": 0.5},
        "ensemble": {"kind": "none"},
    },
    {
        "optimizer": {"kind": "adamw", "layer_rates": [{"layers": "hidden*", "factor": 0.1}]},
        "schedule": {
            "kind": "cosine_restarts",
            "learning_rate": 0.01,
            "first": 1,
            "factor": 2,
            "clock": "epoch",
            "warmup": {"epochs": 1, "start": 0.2},
        },
    },
    {
        "optimizer": {"kind": "sgd", "layer_rates": [{"layers": "hidden1", "factor": 0}]},
        "schedule": {"kind": "one_cycle", "learning_rate": 0.01, "maximum": 0.1, "warmup": {"epochs": 0.5}},
        "ensemble": {"kind": "none"},
    },
    {"preprocessing": {"centre": "per_pixel", "whitening": {"kind": "zca", "epsilon": 0.1}}},
    {"augmentation": [{"kind": "color_jitter", "brightness": 0.4, "contrast": 0.4}, {"kind": "cutout", "size": 4}]},
    {"augmentation": [{"kind": "mixup"}], "loss": {"kind": "cross_entropy", "label_smoothing": 0.1}},
    {"network": {"kind": "convnet", "channels": [3], "initialization": {"kind": "lsuv", "images": 20}}},
    {"network": {"kind": "mlp", "hidden": [5], "initialization": {"kind": "data_dependent", "images": 20}}},
    {"network": {"kind": "resnet", "depth": 8, "batch_norm": None, "initialization": {"kind": "fixup"}}},
    {
        "network": {"kind": "convnet", "channels": [3], "batch_norm": {}},
        "pruning": {"kind": "lottery_ticket", "rounds": 1, "rate": 0.5},
        "schedule": {"kind": "snapshot_cycles", "learning_rate": 0.05, "cycles": 1},
        "ensemble": {"kind": "snapshots", "last": 1},
    },
    {"ensemble": {"kind": "independent", "members": 3}, "schedule": PLATEAU, "epochs": 2, **NORMALIZED},
    {"ensemble": {"kind": "swa", "start": 1, "every": 2}, **NORMALIZED},
    {"ensemble": {"kind": "ema", "decay": 0.7}, **NORMALIZED, **MIXED},
    {"ensemble": {"kind": "snapshots", "last": 2}, **NORMALIZED, **MIXED},
]

SCHEDULES: list[dict[str, Any]] = [
    {"kind": "constant"},
    {"kind": "step", "every": 2},
    {"kind": "multistep", "after": [1, 3]},
    {"kind": "exponential", "k": 0.5},
    {"kind": "inverse_time", "k": 0.5},
    {"kind": "polynomial"},
    {"kind": "linear", "minimum": 0.01},
    {"kind": "cosine"},
    {"kind": "cosine_restarts", "first": 1, "factor": 2},
    {"kind": "snapshot_cycles", "cycles": 1},
    {"kind": "triangular", "maximum": 0.1, "half": 0.75},
    {"kind": "one_cycle", "maximum": 0.1},
]
COLOURFUL = {
    "augmentation": [
        {"kind": "pca_lighting"},
        {"kind": "horizontal_flip"},
        {"kind": "color_jitter", "saturation": 0.5, "hue": 0.1},
        {"kind": "cutout", "size": 3},
        {"kind": "mixup"},
    ],
    "preprocessing": {"centre": "per_pixel", "whitening": {"kind": "pca", "epsilon": 0.1}},
}


def tiny(**changes: Any) -> TrainingSpec:
    return spec(**{"batch_size": 16, **changes})


def run(chosen: TrainingSpec, *, data: DataSet = TINY, resume: Resume | None = None, **options: Any) -> list[Event]:
    options = {"report_seconds": 1e9, "checkpoint_seconds": 1e9, **options}
    return list(train(chosen, data, device=torch.device("cpu"), resume=resume, **options))


def of(kind: type[E], events: Sequence[Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def results(events: Sequence[Event]) -> list[object]:
    """What must not depend on interruptions: every step, epoch, snapshot and ensemble, without times."""
    found: list[object] = []
    for event in events:
        match event:
            case StepsFinished():
                steps = range(event.first_step, event.first_step + len(event.losses))
                found += zip(steps, event.losses, event.learning_rates, strict=True)
            case EpochFinished():
                found.append(replace(event, seconds=0, images_per_second=0))
            case SnapshotTaken():
                found.append((event.number, event.step, event.scores, bits(event.weights), str(event.provenance)))
            case EnsembleScored() | LayersInspected() | NetworkPruned():
                found.append(event)
    return found


def bits(tensors: Any) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def test_events_come_in_order() -> None:
    kinds = [type(event).__name__ for event in run(tiny())]

    epoch = ["StepsFinished", "EpochFinished", "LayersInspected"]
    assert kinds == [
        *("PhaseStarted", "TrainingStarted", "PhaseStarted", "LayersInspected"),
        "StepsFinished",
        *(*epoch, "CheckpointReady"),
        *(*epoch, "SnapshotTaken", "CheckpointReady"),
        *(*epoch, "CheckpointReady"),
        *(*epoch, "SnapshotTaken"),
        *("PhaseStarted", "EnsembleScored", "TrainingFinished"),
    ]


def test_the_start_tells_what_is_trained_on_what() -> None:
    (started,) = of(TrainingStarted, run(tiny()))

    assert (started.first_step, started.steps_per_epoch, started.epochs) == (1, 3, 4)
    assert started.parameters == 64 * 16 + 16 + 16 * 4 + 4
    assert {"torch", "python", "device", "threads"} <= set(started.environment)


def test_phases_are_told() -> None:
    assert [event.phase for event in of(PhaseStarted, run(tiny()))] == ["loading_data", "training", "scoring"]


def test_rates_are_those_of_the_schedule() -> None:
    chosen = tiny()
    rates = [rate for event in of(StepsFinished, run(chosen)) for rate in event.learning_rates]

    assert rates == [learning_rate(chosen.schedule, step // 3 + step % 3 / 3, 4) for step in range(12)]


@pytest.mark.parametrize("timing", [{}, {"warmup": {"epochs": 1, "start": 0.1}}, {"clock": "epoch"}])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule["kind"])
def test_the_preview_is_what_the_optimizer_used(
    schedule: dict[str, Any], timing: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = tiny(schedule={"learning_rate": 0.05, **schedule, **timing}, ensemble={"kind": "none"})
    used = rates_used(chosen, monkeypatch)

    moments = [step // 3 + step % 3 / 3 for step in range(12)]
    assert used == [learning_rate(chosen.schedule, moment, chosen.epochs) for moment in moments]
    assert tuple(used[::3]) == boundary_rates(chosen.schedule, chosen.epochs)[:-1]


def rates_used(chosen: TrainingSpec, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rate in torch's hands at each step."""
    used: list[float] = []
    step = torch.optim.SGD.step

    def spying(self: torch.optim.SGD) -> None:
        used.extend({group["lr"] for group in self.param_groups})
        step(self)

    monkeypatch.setattr(torch.optim.SGD, "step", spying)
    reported = [rate for event in of(StepsFinished, run(chosen)) for rate in event.learning_rates]
    assert reported == used
    return used


def test_a_plateau_follows_the_validation_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = {"kind": "plateau", "learning_rate": 0.05, "factor": 0.5, "patience": 2, "threshold": 0.3}
    chosen = tiny(schedule=schedule, ensemble={"kind": "none"}, epochs=8)
    losses = [epoch.validation_loss for epoch in of(EpochFinished, run(chosen))]
    expected, best, waited, rate = [], math.inf, 0, 0.05
    for loss in losses:
        expected += [rate] * 3
        best, waited = (loss, 0) if loss < 0.7 * best else (best, waited + 1)
        if waited == 2:
            rate, waited = rate / 2, 0

    assert rates_used(chosen, monkeypatch) == expected
    assert len(set(expected)) > 1


def test_frozen_layers_keep_their_weights() -> None:
    frozen = {"kind": "adamw", "layer_rates": [{"layers": "hidden1", "factor": 0}]}
    first, last = of(SnapshotTaken, run(tiny(optimizer=frozen)))

    same = {name for name in first.weights if torch.equal(first.weights[name], last.weights[name])}
    assert {name for name in same if not name.startswith("preprocessing")} == {"hidden1.weight", "hidden1.bias"}


def test_an_ensemble_is_made_of_the_snapshots_at_restarts() -> None:
    schedule = {"kind": "cosine_restarts", "learning_rate": 0.05, "first": 1, "factor": 3}
    events = run(tiny(schedule=schedule))

    assert [taken.epoch for taken in of(SnapshotTaken, events)] == [1, 4]
    assert [member.snapshot for member in of(EnsembleScored, events)[0].members] == [1, 2]


def test_an_epochs_figures_are_means_over_its_images() -> None:
    events = run(tiny())
    reports, epochs = of(StepsFinished, events), of(EpochFinished, events)

    for epoch in epochs:
        steps = [report for report in reports if report.epoch == epoch.epoch]
        losses = [loss for report in steps for loss in report.losses]
        weighted = sum(loss * size for loss, size in zip(losses, (16, 16, 8), strict=True)) / 40
        assert epoch.train_loss == pytest.approx(weighted)
        assert epoch.train_accuracy * 40 == pytest.approx(round(epoch.train_accuracy * 40))
        assert epoch.learning_rate == steps[-1].learning_rates[-1]


def test_the_ensemble_is_scored_beside_each_member_and_the_last_model() -> None:
    events = run(tiny(schedule={"kind": "snapshot_cycles", "learning_rate": 0.05, "cycles": 4}))
    taken, (ensemble,) = of(SnapshotTaken, events), of(EnsembleScored, events)

    assert [member.snapshot for member in ensemble.members] == [3, 4]
    assert [member.weight for member in ensemble.members] == [0.5, 0.5]
    assert [member.scores for member in ensemble.members] == [one.scores for one in taken[-2:]]
    assert ensemble.single == taken[-1].scores


def test_the_ensembles_score_is_that_of_the_averaged_predictions_of_its_files(tmp_path: Path) -> None:
    events = run(tiny())
    predicted = []
    for taken in of(SnapshotTaken, events):
        path = tmp_path / f"{taken.number}"
        snapshot.write(path, taken.weights, taken.provenance)
        model, _ = snapshot.load(path)
        predicted.append(log_probabilities(model, torch.tensor(TINY.validation.images)).exp())

    combined = torch.stack(predicted).mean(0).log()

    (ensemble,) = of(EnsembleScored, events)
    expected = scores(combined, torch.tensor(TINY.validation.labels))
    assert ensemble.scores.accuracy == expected.accuracy
    assert ensemble.scores.negative_log_likelihood == pytest.approx(expected.negative_log_likelihood)


def test_without_an_ensemble_one_snapshot_is_taken_and_nothing_scored() -> None:
    events = run(tiny(schedule={"kind": "constant", "learning_rate": 0.05}, ensemble={"kind": "none"}))

    assert [taken.epoch for taken in of(SnapshotTaken, events)] == [4]
    assert of(EnsembleScored, events) == []


@pytest.mark.parametrize(
    ("alpha", "smoothing"), [(None, 0.0), (None, 0.2), (1.0, 0.0), (1.0, 0.2)], ids=["plain", "smooth", "mixed", "both"]
)
def test_one_step_of_a_linear_classifier_is_the_update_worked_out_by_hand(
    alpha: float | None, smoothing: float
) -> None:
    changes = {
        "network": {"kind": "mlp", "hidden": []},
        "augmentation": [{"kind": "mixup", "alpha": alpha}] if alpha else [],
        "loss": {"kind": "cross_entropy", "label_smoothing": smoothing},
        "optimizer": {"kind": "sgd", "momentum": {"form": "none"}},
        "schedule": {"kind": "constant", "learning_rate": 0.05},
        "ensemble": {"kind": "none"},
        **{"epochs": 1, "batch_size": 16, "last_batch": "drop"},
    }
    chosen, small = tiny(**changes), replace(TINY, train=Split(TINY.train.images[:16], TINY.train.labels[:16]))
    weights = draw(chosen.network.initialization, torch.Size((4, 64)), generator("cpu", 0, "initialize", 0)).double()
    ((images, labels),) = Batches(Resident(small.train, torch.device("cpu")), 16, 0, drop_last=True).epoch(1)
    partners = torch.randperm(16, generator=generator("cpu", 0, "augmentation", 0, 1))
    share = mixup_share(alpha, 0, 1) if alpha else 1.0
    x = share * images.double() + (1 - share) * images[partners].double()
    x = ((x - images.double().mean()) / images.double().std(correction=0)).flatten(1)
    y = torch.zeros(16, 4, dtype=torch.float64)
    for row, (label, partner) in enumerate(zip(labels.tolist(), labels[partners].tolist(), strict=True)):
        y[row] += smoothing / 4
        y[row, label] += (1 - smoothing) * share
        y[row, partner] += (1 - smoothing) * (1 - share)
    logits = x @ weights.T
    p = logits.exp() / logits.exp().sum(1, keepdim=True)

    events = run(chosen, data=small)

    (epoch,), (taken,) = of(EpochFinished, events), of(SnapshotTaken, events)
    assert epoch.train_loss == pytest.approx(float(-(y * p.log()).sum() / 16), rel=1e-5)
    assert epoch.train_accuracy == float((logits.argmax(1) == labels).double().mean())
    assert torch.allclose(
        taken.weights["output.weight"].double(), weights - 0.05 * (p - y).T @ x / 16, rtol=0, atol=1e-6
    )
    assert torch.allclose(taken.weights["output.bias"].double(), -0.05 * (p - y).mean(0), rtol=0, atol=1e-6)


def test_validation_images_are_never_augmented(tmp_path: Path) -> None:
    chosen = tiny(loss={"kind": "cross_entropy", "label_smoothing": 0.3}, **COLOURFUL)
    events = run(chosen, data=COLOUR)

    for taken, epoch in zip(of(SnapshotTaken, events), of(EpochFinished, events)[1::2], strict=True):
        snapshot.write(tmp_path / "file", taken.weights, taken.provenance)
        model, _ = snapshot.load(tmp_path / "file")
        plain = log_probabilities(model, torch.tensor(COLOUR.validation.images))
        assert taken.scores == scores(plain, torch.tensor(COLOUR.validation.labels))
        assert taken.scores.negative_log_likelihood == epoch.validation_loss


def test_hidden_units_of_equal_weights_stay_identical() -> None:
    network = {"kind": "mlp", "hidden": [6], "initialization": {"kind": "constant"}}
    events = run(tiny(network=network))

    weights = of(SnapshotTaken, events)[-1].weights["hidden1.weight"]

    assert not torch.equal(weights, torch.full_like(weights, 0.01))
    assert torch.allclose(weights, weights[0].expand_as(weights), atol=1e-7)


@pytest.mark.parametrize("changes", GRID)
def test_the_same_spec_gives_the_same_bits(changes: dict[str, Any]) -> None:
    assert results(run(tiny(**changes))) == results(run(tiny(**changes)))


def test_another_seed_gives_another_result() -> None:
    assert results(run(tiny(seed=1))) != results(run(tiny(seed=2)))


def test_how_often_is_reported_changes_nothing() -> None:
    assert results(run(tiny(), report_seconds=0)) == results(run(tiny()))


@pytest.mark.parametrize("changes", GRID)
def test_a_training_that_was_stopped_after_any_step_ends_with_the_same_bits(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, last_states = tiny(**changes), spied_last_states(monkeypatch)
    undisturbed = run(chosen)
    whole, (last_state,) = results(undisturbed), last_states

    for stop_after in range(of(TrainingFinished, undisturbed)[0].step):
        first, going_on = stopped(chosen, stop_after, tmp_path)
        assert of(TrainingStopped, first)[0].step == stop_after
        assert results(first) + results(run(chosen, resume=going_on)) == whole, stop_after
        assert last_states.pop() == last_state, stop_after


def spied_last_states(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Collects what each training's learner has after its last step: weights, optimizer, averages, losses."""
    found: list[object] = []
    score = Training.score

    def spy(training: Training) -> Iterator[Event]:
        tensors, facts = training.learner.state()
        found.append((bits(tensors), facts))
        return score(training)

    monkeypatch.setattr(Training, "score", spy)
    return found


def test_a_training_on_colour_images_that_was_stopped_ends_with_the_same_bits(tmp_path: Path) -> None:
    chosen = tiny(**COLOURFUL)
    whole = results(run(chosen, data=COLOUR))

    for stop_after in (1, 4, 8):
        first, going_on = stopped(chosen, stop_after, tmp_path, COLOUR)
        assert results(first) + results(run(chosen, data=COLOUR, resume=going_on)) == whole, stop_after


@pytest.mark.parametrize("changes", GRID[:2])
def test_a_training_goes_on_from_any_checkpoint_to_the_same_bits(changes: dict[str, Any], tmp_path: Path) -> None:
    chosen = tiny(**changes)
    events = run(chosen, checkpoint_seconds=0)
    whole = results(events)
    assert len(of(CheckpointReady, events)) > chosen.epochs

    for index, event in enumerate(events):
        if isinstance(event, CheckpointReady):
            before = events[:index]
            going_on = saved(event, before, tmp_path)
            assert results(before) + results(run(chosen, resume=going_on)) == whole, event.step


def test_a_training_goes_on_with_the_threads_it_began_with(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        first, going_on = stopped(tiny(), 3, tmp_path)
        torch.set_num_threads(1)
        rest = run(tiny(), resume=going_on)
    finally:
        torch.set_num_threads(before)

    began = of(TrainingStarted, [*first, *rest])
    assert [event.environment["threads"] for event in began] == ["2", "2"]


def test_what_was_learnt_from_the_images_is_not_learnt_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whitened = tiny(preprocessing={"centre": "per_pixel", "whitening": {"kind": "zca", "epsilon": 0.1}})
    whole = results(run(whitened))
    first, going_on = stopped(whitened, 3, tmp_path)
    monkeypatch.delattr("trainer.preprocess.fitted")

    assert results(first) + results(run(whitened, resume=going_on)) == whole


def stopped(chosen: TrainingSpec, after: int, folder: Path, data: DataSet = TINY) -> tuple[list[Event], Resume]:
    """A training asked to stop after so many steps, and what it goes on from."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > after

    events = run(chosen, data=data, stop=stop)
    return events, saved(of(CheckpointReady, events)[-1], events, folder)


def saved(ready: CheckpointReady, before: Sequence[Event], folder: Path) -> Resume:
    path = folder / "checkpoint"
    checkpoint.write(path, ready.tensors, ready.facts)
    files = []
    for taken in of(SnapshotTaken, before):
        files.append(folder / f"snapshot-{taken.number}")
        snapshot.write(files[-1], taken.weights, taken.provenance)
    return Resume(path, files)


def test_a_checkpoint_of_another_spec_is_refused(tmp_path: Path) -> None:
    _, going_on = stopped(tiny(), 2, tmp_path)

    with pytest.raises(CheckpointDamaged, match="another spec"):
        run(tiny(seed=9), resume=going_on)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    _, going_on = stopped(tiny(), 2, tmp_path)
    going_on.checkpoint.write_bytes(going_on.checkpoint.read_bytes()[:100])

    with pytest.raises(CheckpointDamaged, match="cannot be read"):
        run(tiny(), resume=going_on)


def test_a_spec_that_does_not_fit_the_data_is_refused() -> None:
    with pytest.raises(SpecInvalid, match="batch_size"):
        run(tiny(batch_size=41))


def test_a_loss_that_is_not_finite_ends_the_training_with_its_step() -> None:
    chosen = tiny(
        batch_size=2,
        schedule={"kind": "constant", "learning_rate": 1000.0},
        optimizer={"kind": "sgd", "momentum": {"form": "none"}},
        ensemble={"kind": "none"},
    )
    reported: list[float] = []

    def follow() -> None:
        for event in train(chosen, TINY, device=torch.device("cpu")):
            if isinstance(event, StepsFinished):
                reported.extend(event.losses)

    with pytest.raises(Diverged) as caught:
        follow()

    assert caught.value.step == len(reported) + 1
    assert all(math.isfinite(loss) for loss in reported)
    assert "learning_rate" in (caught.value.hint or "")


def test_torch_is_left_as_it_was() -> None:
    before = torch.get_rng_state(), torch.get_deterministic_debug_mode()

    run(tiny(augmentation=[{"kind": "horizontal_flip"}], network={"kind": "mlp", "dropout": {"drop": 0.5}}))

    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_deterministic_debug_mode() == before[1]


def test_digits_are_learnt() -> None:
    chosen = spec(
        network={"kind": "convnet", "channels": [8, 16], "batch_norm": {}},
        schedule={"kind": "snapshot_cycles", "learning_rate": 0.05, "cycles": 2},
    )

    events = list(train(chosen, data.load("mnist5k"), device=choose("cpu")))

    (ensemble,) = of(EnsembleScored, events)
    assert ensemble.scores.accuracy > 0.93


def on_device(chosen: TrainingSpec, device: str) -> list[float]:
    events = train(chosen, TINY, device=choose(device))
    return [loss for event in events if isinstance(event, StepsFinished) for loss in event.losses]


@pytest.mark.gpu
@pytest.mark.parametrize("changes", GRID)
def test_the_same_spec_gives_the_same_bits_on_a_gpu(changes: dict[str, Any]) -> None:
    assert on_device(tiny(**changes), "cuda") == on_device(tiny(**changes), "cuda")


@pytest.mark.gpu
def test_a_gpu_learns_what_a_cpu_learns() -> None:
    assert on_device(tiny(), "cuda") == pytest.approx(on_device(tiny(), "cpu"), rel=1e-3)


def test_snapshots_are_the_same_file_each_time(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (*_, taken) = of(SnapshotTaken, run(tiny()))
        snapshot.write(tmp_path / name, taken.weights, taken.provenance)
        files.append((tmp_path / name).read_bytes())

    assert files[0] == files[1]


def test_a_snapshot_tells_where_it_comes_from(tmp_path: Path) -> None:
    chosen = tiny()
    (*_, taken) = of(SnapshotTaken, run(chosen))
    snapshot.write(tmp_path / "file", taken.weights, taken.provenance)

    _, provenance = snapshot.load(tmp_path / "file")

    assert provenance["spec"] == chosen.model_dump(mode="json")
    assert provenance["spec_sha256"] == chosen.sha256
    assert provenance["dataset"] == {"name": "tiny", "sha256": TINY.sha256}
    assert provenance["classes"] == ["a", "b", "c", "d"]
    assert (provenance["number"], provenance["epoch"], provenance["step"]) == (2, 4, 12)
    assert provenance["environment"]["torch"] == torch.__version__


def test_a_file_of_others_is_no_snapshot(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "file")

    with pytest.raises(ValueError, match="not a file of Annealer's"):
        snapshot.read(tmp_path / "file")


def test_an_interrupted_write_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    snapshot.write(path, {"x": torch.zeros(1)}, {"a": 1})
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="full"):
        snapshot.write(path, {"x": torch.ones(1)}, {"a": 2})

    assert path.read_bytes() == before


def test_tensors_of_events_are_copies() -> None:
    taken: list[tuple[dict[str, Tensor], dict[str, bytes]]] = []
    for event in train(tiny(), TINY, device=torch.device("cpu")):
        if isinstance(event, CheckpointReady):
            taken.append((dict(event.tensors), bits(event.tensors)))

    assert all(bits(tensors) == before for tensors, before in taken)
