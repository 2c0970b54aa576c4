"""What will happen, or every mistake at once."""

import pytest

from tests.trainer.validation.plans import (
    CONVOLUTION,
    FLATTEN,
    RELU,
    alone,
    codes,
    cycles,
    flat,
    plan,
    pruned,
    residual,
)
from trainer.errors import SpecInvalid


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(SpecInvalid) as caught:
        plan(epochs=3, batch_size=5000, network={"kind": "convnet", "kernel_size": 63})

    places = {mistake.pointer for mistake in caught.value.mistakes}
    assert places == {"/schedule/cycles", "/batch_size", "/network/kernel_size"}


def test_the_plan_tells_layers_rates_and_snapshots() -> None:
    found = plan(batch_size=100, epochs=4)

    assert found.steps_per_epoch == 40
    assert found.snapshot_epochs == (2, 4)
    assert found.learning_rates == pytest.approx((0.05, 0.025, 0.05, 0.025, 0.0), abs=1e-12)
    assert [row.name for row in found.layers] == ["flatten", "hidden1", "activation1", "output"]
    assert found.parameters == 28 * 28 * 16 + 16 + 16 * 10 + 10
    assert found.multiply_adds == 28 * 28 * 16 + 16 * 10
    assert found.step_multiply_adds == 3 * 100 * found.multiply_adds


def test_the_curve_goes_through_the_rates_at_the_boundaries() -> None:
    found = plan(**alone("one_cycle", maximum=0.5, rise=0.33) | {"epochs": 2})

    rates = {point.epoch: point.rate for point in found.curve}
    assert (rates[0], rates[1]) == found.learning_rates[:2]
    assert found.curve[-1].rate == pytest.approx(found.learning_rates[-1], abs=1e-9)
    assert rates[0.66] == pytest.approx(0.5)


@pytest.mark.parametrize(("last_batch", "steps"), [("keep", 32), ("drop", 31)])
def test_the_last_batch_counts_when_it_is_kept(last_batch: str, steps: int) -> None:
    assert plan(batch_size=128, last_batch=last_batch).steps_per_epoch == steps


def test_members_ends_are_their_snapshots_and_their_steps_add_up() -> None:
    found = plan(**flat({"kind": "independent", "members": 3}))

    assert found.snapshot_epochs == (10, 20, 30)
    assert found.steps == 3 * 10 * found.steps_per_epoch
    assert len(found.learning_rates) == 11


def test_averaged_weights_are_kept_beside_the_weights() -> None:
    averaged, last = plan(**flat({"kind": "swa", "start": 5})), plan(**flat({"kind": "none"}))

    assert averaged.memory.weights == 2 * last.memory.weights
    assert averaged.memory.gradients == last.memory.gradients


def test_a_pruned_networks_memory_holds_its_mask() -> None:
    pruned_once = plan(pruning=pruned(1), schedule=cycles(2))

    assert pruned_once.memory.weights == 2 * plan().memory.weights


@pytest.mark.parametrize(
    "network",
    [
        {"kind": "mlp"},
        {"kind": "alexnet", "variant": "small", "batch_norm": {"after": ["conv1"]}},
        {"kind": "vgg", "padding": 2, "variant": "small", "batch_norm": {}},
        {"kind": "resnet", "depth": 20, "dropout": {"drop": 0.5}},
        {
            "kind": "layers",
            "batch_norm": {},
            "layers": [CONVOLUTION, RELU, residual(CONVOLUTION, RELU, CONVOLUTION), RELU],
        },
        {"kind": "layers", "layers": [CONVOLUTION, {"kind": "max_pool"}, CONVOLUTION, RELU, FLATTEN]},
    ],
)
def test_a_sound_spec_has_no_warnings(network: dict[str, object]) -> None:
    assert codes(network=network) == []
