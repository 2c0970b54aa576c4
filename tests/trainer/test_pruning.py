"""Lottery tickets: what is pruned, that it stays pruned, and what the rest is rewound to (Frankle and Carbin 2019)."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.specs import dataset, spec
from tests.trainer.learners import learner
from trainer import sparsity
from trainer.events import CheckpointReady, Event, NetworkPruned, SnapshotTaken, StepsFinished
from trainer.plan import Plan, check
from trainer.pruning import Mask
from trainer.spec import LotteryTicket, TrainingSpec
from trainer.train import train

TINY = dataset()


def ticket(**changes: Any) -> TrainingSpec:
    pruning = {"kind": "lottery_ticket", "rounds": 2, "rate": 0.5, **changes.pop("pruning", {})}
    return spec(**{"epochs": 6, "batch_size": 16, "ensemble": {"kind": "none"}, "pruning": pruning} | changes)


def plan(chosen: TrainingSpec) -> Plan:
    return check(chosen, TINY.facts)


def run(chosen: TrainingSpec) -> list[Event]:
    return list(train(chosen, TINY, device=torch.device("cpu"), report_seconds=1e9, checkpoint_seconds=0))


def prunings(events: Sequence[Event]) -> list[NetworkPruned]:
    return [event for event in events if isinstance(event, NetworkPruned)]


def checkpoints(events: Sequence[Event]) -> dict[int, CheckpointReady]:
    """The last of each step."""
    return {event.step: event for event in events if isinstance(event, CheckpointReady)}


def by_hand(rate: float) -> LotteryTicket:
    return LotteryTicket(kind="lottery_ticket", rounds=1, rate=rate)


def small_model() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.1, -0.8], [0.3, -0.2], [0.2, 0.9], [-0.7, 0.6]]))
        model[1].weight.copy_(torch.tensor([[5.0, -0.5, 3.0, 0.05], [2.0, 4.0, -6.0, 7.0]]))
    return model


def test_each_layer_loses_its_smallest_weights_the_output_at_half_the_rate() -> None:
    model = small_model()
    mask = Mask(model)

    mask.prune(by_hand(0.25))
    mask.hold()

    assert torch.equal(model[0].weight, torch.tensor([[0.0, -0.8], [0.3, 0.0], [0.2, 0.9], [-0.7, 0.6]]))
    assert torch.equal(model[1].weight, torch.tensor([[5.0, -0.5, 3.0, 0.0], [2.0, 4.0, -6.0, 7.0]]))
    assert [(layer.weights, layer.left) for layer in mask.layers()] == [(8, 6), (8, 7)]
    assert mask.sparsity() == 3 / 16


def test_a_global_scope_takes_the_smallest_weights_of_all_layers() -> None:
    model = small_model()
    mask = Mask(model)

    mask.prune(LotteryTicket(kind="lottery_ticket", rounds=1, rate=0.5, scope="global"))

    assert mask.state()["0"].tolist() == [[False, True], [False, False], [False, True], [False, False]]
    assert mask.state()["1"].tolist() == [[True, False, True, False], [True, True, True, True]]


def test_what_is_pruned_is_not_pruned_again() -> None:
    mask = Mask(small_model())

    mask.prune(by_hand(0.25))
    mask.hold()
    mask.prune(by_hand(0.5))

    assert mask.state()["0"].tolist() == [[False, True], [False, False], [False, True], [True, False]]


def test_pruned_gradients_count_nowhere() -> None:
    model = small_model()
    mask = Mask(model)
    mask.prune(by_hand(0.25))
    model(torch.ones(3, 2)).sum().backward()

    mask.hold_gradients()

    assert model[0].weight.grad is not None
    assert torch.equal(model[0].weight.grad != 0, mask.state()["0"])


def test_sparsity_grows_round_by_round_as_asked() -> None:
    first, second = prunings(run(ticket()))

    assert (first.round, first.epoch, first.step) == (1, 2, 6)
    assert (second.round, second.epoch, second.step) == (2, 4, 12)
    assert [(layer.name, layer.weights, layer.left) for layer in first.layers] == [
        ("hidden1", 1024, 512),
        ("output", 64, 48),
    ]
    assert [layer.left for layer in second.layers] == [256, 36]
    assert second.sparsity == 1 - (256 + 36) / (1024 + 64)


def test_sparsity_is_a_power_of_what_a_round_leaves() -> None:
    pruning = {"rounds": 5, "rate": 0.2, "scope": "global"}
    found = prunings(run(ticket(pruning=pruning, epochs=6, schedule={"kind": "constant", "learning_rate": 0.1})))

    assert [event.sparsity for event in found] == pytest.approx([1 - 0.8**number for number in range(1, 6)], abs=1e-3)


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize(
    "changes",
    [
        {"regularization": {"weight_decay": 0.01}},
        {"optimizer": {"kind": "sgd", "momentum": {"form": "averaged"}}},
        {"network": {"kind": "resnet", "depth": 8}},
    ],
)
def test_the_mask_holds_through_training(scope: str, changes: dict[str, Any]) -> None:
    events = run(ticket(pruning={"scope": scope}, **changes))
    masked = 0

    for event in events:
        if isinstance(event, CheckpointReady):
            for name in (name for name in event.tensors if name.startswith("mask.")):
                kept = event.tensors[name]
                weight = event.tensors[f"model.{name.removeprefix('mask.')}.weight"]
                assert torch.equal(weight[~kept], torch.zeros(int((~kept).sum())))
                masked += int((~kept).sum())
    assert masked > 0
    last = [event for event in events if isinstance(event, SnapshotTaken)][-1]
    left = sum(layer.left for layer in prunings(events)[-1].layers)
    pruned = [f"{layer.name}.weight" for layer in prunings(events)[-1].layers]
    assert sum(int(last.weights[name].count_nonzero()) for name in pruned) == left


def test_what_is_left_is_rewound_to_its_start_with_batch_norm_and_momentum() -> None:
    chosen = ticket(network={"kind": "convnet", "channels": [3], "batch_norm": {}})
    start = learner(chosen, TINY).model.state_dict()
    saved = checkpoints(run(chosen))

    for step in (6, 12):
        tensors = saved[step].tensors
        assert not any(tensor.any() for name, tensor in tensors.items() if name.startswith("updates."))
        for name, before in start.items():
            kept = tensors.get(f"mask.{name.removesuffix('.weight')}", torch.ones_like(before, dtype=torch.bool))
            assert torch.equal(tensors[f"model.{name}"], torch.where(kept, before, torch.zeros_like(before))), name


def test_images_decide_the_same_start_again() -> None:
    network = {"kind": "mlp", "hidden": [8], "initialization": {"kind": "lsuv", "images": 20}}
    chosen = ticket(network=network)
    start = learner(chosen, TINY).model.state_dict()

    tensors = checkpoints(run(chosen))[6].tensors

    kept = tensors["mask.hidden1"]
    assert torch.equal(tensors["model.hidden1.weight"][kept], start["hidden1.weight"][kept])


def test_pruned_are_the_smallest_of_the_weights_as_trained() -> None:
    events = run(ticket())
    snapshot = next(event for event in events if isinstance(event, SnapshotTaken) and event.step == 6)
    trained: Tensor = snapshot.weights["hidden1.weight"]

    kept = checkpoints(events)[6].tensors["mask.hidden1"]

    assert trained[~kept].abs().max() <= trained[kept].abs().min()


def test_each_training_runs_through_the_schedule_and_ends_in_its_snapshots() -> None:
    chosen = ticket(schedule={"kind": "cosine", "learning_rate": 0.1})
    events = run(chosen)
    rates = [rate for event in events if isinstance(event, StepsFinished) for rate in event.learning_rates]

    assert rates == rates[:6] * 3
    assert rates[0] == 0.1
    assert rates[5] < 0.01
    assert plan(chosen).snapshot_epochs == (2, 4, 6)
    assert plan(chosen).learning_rates[:6] == tuple(rates[::3])
    assert plan(chosen).learning_rates[6] == pytest.approx(0, abs=1e-12)
    taken = [event for event in events if isinstance(event, SnapshotTaken)]
    sparsities = [event.sparsity for event in prunings(events)]
    assert [event.provenance["sparsity"] for event in taken] == [0.0, *sparsities]


def test_cycles_divide_a_training_and_the_last_tickets_are_averaged() -> None:
    found = plan(
        ticket(
            epochs=12,
            schedule={"kind": "snapshot_cycles", "learning_rate": 0.1, "cycles": 2},
            ensemble={"kind": "snapshots", "last": 2},
        )
    )

    assert found.snapshot_epochs == (2, 4, 6, 8, 10, 12)


@pytest.mark.parametrize(("weights", "rate", "rounds", "left"), [(100, 0.2, 1, 80), (100, 0.2, 3, 51), (3, 0.9, 1, 0)])
def test_what_is_left_is_known_beforehand(weights: int, rate: float, rounds: int, left: int) -> None:
    assert sparsity.left(weights, rate, rounds) == left
