"""Several processes that train one model: the same as one, but for rounding."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.specs import dataset
from tests.trainer import pair
from tests.trainer.learners import learner
from tests.trainer.pair import Pair
from tests.trainer.test_train import bits, of, results, saved, tiny
from trainer.errors import DeviceUnavailable, Diverged
from trainer.events import CheckpointReady, EnsembleScored, Event, SnapshotTaken, StepsFinished, TrainingStopped
from trainer.replicas import Replicas
from trainer.synchronized import convert
from trainer.train import Resume, train

TINY = dataset(train=37)
CPU = torch.device("cpu")
CONVNET = {"kind": "convnet", "channels": [3], "batch_norm": {}, "dropout": {"drop": 0.3}}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair.started(tmp_path_factory.mktemp("pair")) as found:
        yield found


@given(st.integers(0, 1000), st.integers(1, 20))
def test_parts_hold_every_image_once_and_are_as_equal_as_can_be(whole: int, count: int) -> None:
    parts = [list(range(whole))[Replicas(rank, count).part(whole)] for rank in range(count)]

    assert [image for part in parts for image in part] == list(range(whole))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_alone_exchanges_nothing() -> None:
    alone, tensor = Replicas(0, 1), torch.ones(3)

    alone.add([tensor])
    alone.share([tensor])

    assert (alone.same("word"), alone.agree(3), tensor.tolist()) == ("word", 3, [1, 1, 1])


def exchange(replicas: Replicas) -> tuple[list[list[float]], list[float], str, int]:
    rank = replicas.rank
    summed = [torch.full((2, 2), 1.0 + rank).to(memory_format=torch.contiguous_format), torch.tensor(10.0 * rank)]
    shared = torch.full((2,), 5.0 + rank)
    replicas.add(summed)
    replicas.share([shared])
    return (
        [one.flatten().tolist() for one in summed],
        shared.tolist(),
        replicas.same(f"from {rank}"),
        replicas.agree(rank),
    )


def test_sums_are_of_all_and_the_rest_is_the_firsts(two: Pair) -> None:
    assert two.run(exchange) == [([[3, 3, 3, 3], [10]], [5, 5], "from 0", 0)] * 2


# Batch norm over the whole batch.


def normalize(replicas: Replicas, norm: nn.Module, units: Tensor, upstream: Tensor) -> dict[str, Tensor]:
    model = nn.Sequential(norm)
    if replicas.count > 1:
        convert(model, CPU)
    part = replicas.part(len(units))
    given = units[part].clone().requires_grad_()
    out = model(given)
    (out * upstream[part]).sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    replicas.add(gradients)
    names = ("weight", "bias")
    found = {"out": out.detach(), "by_units": given.grad} | dict(zip(names, gradients, strict=True))
    return found | {name: buffer.clone() for name, buffer in model.named_buffers()}


@pytest.mark.parametrize("shape", [(7, 3), (5, 3, 4, 2)])
def test_synchronised_batch_norm_is_that_of_the_whole_batch(two: Pair, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    norm = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(3, momentum=0.3)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    units, upstream = 3 * torch.randn(shape) + 1, torch.randn(shape)

    first, second = two.run(normalize, norm, units, upstream)

    expected = normalize(Replicas(0, 1), norm.double(), units.double(), upstream.double())
    for name in ("out", "by_units"):
        torch.testing.assert_close(
            torch.cat([first[name], second[name]]).double(), expected[name], rtol=1e-5, atol=1e-5
        )
    for name in expected.keys() - {"out", "by_units"}:
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], expected[name], rtol=1e-5, atol=1e-5, check_dtype=False)


def test_synchronised_batch_norm_evaluates_by_its_running_averages() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2))
    convert(model, CPU)
    model[0].running_mean.fill_(3.0)

    assert torch.allclose(model.eval()(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.0, 1.0]]), atol=1e-4)


# Whole trainings.


def trained(
    replicas: Replicas, changes: dict[str, Any], resume: Resume | None = None, stop_after: int | None = None
) -> list[Event]:
    """All events; the first process alone is asked to stop, and knows what to go on from."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return replicas.rank == 0 and stop_after is not None and asked > stop_after

    options: dict[str, Any] = {"report_seconds": 1e9, "checkpoint_seconds": 1e9, "stop": stop}
    resume = resume if replicas.rank == 0 else None
    chosen = tiny(**changes)
    return list(train(chosen, TINY, device=CPU, replicas=replicas, resume=resume, **options))


def alone(changes: dict[str, Any]) -> list[Event]:
    return trained(Replicas(0, 1), {**changes, "devices": 1})


def steps(events: list[Event]) -> list[float]:
    return [loss for event in of(StepsFinished, events) for loss in event.losses]


GRID: list[dict[str, Any]] = [
    {},
    {"network": CONVNET},
    {"network": CONVNET, "augmentation": [{"kind": "random_crop", "padding": 1}, {"kind": "mixup"}]},
    {
        "network": CONVNET,
        "ensemble": {"kind": "swa", "start": 2},
        "loss": {"kind": "cross_entropy", "label_smoothing": 0.1},
    },
    {"network": CONVNET, "ensemble": {"kind": "ema", "decay": 0.7}, "optimizer": {"kind": "adam", "epsilon": 0.01}},
    {
        "network": {"kind": "convnet", "channels": [3], "initialization": {"kind": "lsuv", "images": 20}},
        "ensemble": {"kind": "independent", "members": 2},
        "schedule": {"kind": "constant", "learning_rate": 0.05},
    },
    {
        "pruning": {"kind": "lottery_ticket", "rounds": 1, "rate": 0.5},
        "schedule": {"kind": "constant", "learning_rate": 0.05},
        "regularization": {"weight_decay": 0.01, "gradient_clipping": {"norm": 0.5}},
        "ensemble": {"kind": "none"},
    },
]


@pytest.mark.parametrize("changes", GRID)
def test_two_processes_train_as_one_does_but_for_rounding(two: Pair, changes: dict[str, Any]) -> None:
    together = {**changes, "devices": 2, "epochs": 8}

    first, second = two.run(trained, together)

    expected = alone(together)
    assert len(steps(expected)) >= 20
    assert steps(first)[:20] == pytest.approx(steps(expected)[:20], rel=1e-4)
    assert [type(event) for event in first] == [type(event) for event in expected]
    assert results(first) == results(second)
    for ours, reference in zip(of(SnapshotTaken, first), of(SnapshotTaken, expected), strict=True):
        assert ours.weights.keys() == reference.weights.keys()
    for ours, reference in zip(of(EnsembleScored, first), of(EnsembleScored, expected), strict=True):
        assert ours.scores.negative_log_likelihood == pytest.approx(reference.scores.negative_log_likelihood, rel=1e-2)


def test_two_processes_train_compiled_as_they_do_otherwise_but_for_rounding(two: Pair) -> None:
    """The compiler leaves alone what they exchange within a step."""
    together = {"network": CONVNET, "devices": 2, "epochs": 8}

    eager, _ = two.run(trained, together)
    compiled, other = two.run(trained, {**together, "execution": {"compile": True}})

    assert results(compiled) == results(other)
    assert steps(compiled)[:20] == pytest.approx(steps(eager)[:20], rel=1e-4)


def test_the_weights_after_twenty_steps_are_those_of_one_process(two: Pair) -> None:
    first, second = two.run(weights_after, GRID[2], 20)

    (expected,) = [weights_after(Replicas(0, 1), {**GRID[2], "devices": 1}, 20)]
    assert bits(first) == bits(second)
    for name, tensor in expected.items():
        torch.testing.assert_close(first[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def weights_after(replicas: Replicas, changes: dict[str, Any], count: int) -> dict[str, Tensor]:
    chosen = tiny(**{"devices": 2, "epochs": 8, **changes})
    made = learner(chosen, TINY, replicas)
    while count:
        for images, labels in made.rest_of_epoch():
            if count:
                made.train(images, labels)
                count -= 1
        made.finish_epoch(1.0)
    return dict(made.model.state_dict())


def test_without_synchronisation_each_part_is_normalised_by_itself(two: Pair) -> None:
    changes = {"network": CONVNET, "devices": 2, "execution": {"sync_batch_norm": False}, "batch_size": 14}

    first, second = two.run(trained, changes)

    assert results(first) == results(second)
    whole = steps(alone({"network": CONVNET, "batch_size": 14}))
    assert steps(first)[0] != pytest.approx(whole[0], rel=1e-4)
    assert steps(first)[0] == pytest.approx(loss_by_parts(), rel=1e-4)


def loss_by_parts() -> float:
    """The first step's loss, where each half of the batch goes through the network by itself."""
    chosen = tiny(network=CONVNET, batch_size=14)
    made = learner(chosen, TINY)
    images, labels = next(iter(made.rest_of_epoch()))
    made.model.train()
    losses = []
    for rank in range(2):
        part = Replicas(rank, 2).part(len(images))
        changed, targets = made.drawn(images, labels, part)
        losses.append(float(nn.functional.cross_entropy(made.model(changed), targets).detach()))
    return sum(losses) / 2


@pytest.mark.parametrize("changes", [GRID[2], GRID[4], {"network": CONVNET, "execution": {"sync_batch_norm": False}}])
def test_two_processes_that_were_stopped_end_with_the_same_bits(
    two: Pair, changes: dict[str, Any], tmp_path: Path
) -> None:
    together = {**changes, "devices": 2, "batch_size": 13}
    whole = results(two.run(trained, together)[0])

    for stop_after in (0, 2, 4, 7):
        first, other = two.run(trained, together, None, stop_after)
        assert [event.step for event in of(TrainingStopped, first)] == [stop_after]
        assert results(first) == results(other)
        going_on = saved(of(CheckpointReady, first)[-1], first, tmp_path)
        rest, _ = two.run(trained, together, going_on)
        assert results(first) + results(rest) == whole, stop_after


def diverged(replicas: Replicas, changes: dict[str, Any]) -> tuple[int, str | None, int | None]:
    try:
        trained(replicas, changes)
    except Diverged as error:
        return error.step, error.layer, error.checkpoint_step
    raise AssertionError("nothing diverged")


def test_divergence_is_found_by_both_at_the_same_step_and_layer(two: Pair) -> None:
    changes = {
        "network": {"kind": "mlp", "hidden": [8, 8, 8]},
        "schedule": {"kind": "constant", "learning_rate": 1000.0},
        "optimizer": {"kind": "sgd", "momentum": {"form": "none"}},
        "ensemble": {"kind": "none"},
        "batch_size": 5,
    }

    found = two.run(diverged, {**changes, "devices": 2})

    assert found == [diverged(Replicas(0, 1), changes)] * 2
    assert found[0][1] is not None


def test_as_many_processes_must_train_as_the_spec_asks_for() -> None:
    with pytest.raises(DeviceUnavailable, match="asks for 3 devices, and 1 would train it"):
        trained(Replicas(0, 1), {"devices": 3})
