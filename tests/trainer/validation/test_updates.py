"""Optimizer, penalties and loss."""

import pytest

from tests.trainer.validation.plans import alone, codes, only, plan
from trainer.layers import Flatten


def layer_rates(*entries: tuple[str, float]) -> dict[str, object]:
    return {"kind": "sgd", "layer_rates": [{"layers": layers, "factor": factor} for layers, factor in entries]}


@pytest.mark.parametrize(
    ("changes", "place", "code"),
    [
        (
            {"regularization": {"weight_decay": 0.1, "decoupled_weight_decay": 0.1}},
            "/regularization/decoupled_weight_decay",
            "two_decays",
        ),
        (
            {"optimizer": {"kind": "adamw"}, "regularization": {"weight_decay": 0.1}},
            "/regularization/weight_decay",
            "two_decays",
        ),
        (
            {"optimizer": {"kind": "adamw"}, "regularization": {"decoupled_weight_decay": 0.1}},
            "/regularization/decoupled_weight_decay",
            "two_decays",
        ),
    ],
)
def test_weights_decay_in_one_way(changes: dict[str, object], place: str, code: str) -> None:
    mistake = only(**changes)

    assert (mistake.pointer, mistake.code) == (place, code)


def test_a_layer_rate_for_no_layer_is_refused_with_the_names_there_are() -> None:
    network = {"kind": "convnet", "channels": [4], "batch_norm": {}}

    mistake = only(network=network, optimizer=layer_rates(("conv1", 0.5), ("pool*", 0.1)))

    assert (mistake.pointer, mistake.code) == ("/optimizer/layer_rates/1/layers", "no_such_layer")
    assert mistake.detail.endswith("There are: conv1, norm1, output.")


def test_a_layer_rate_that_never_counts_is_refused() -> None:
    mistake = only(optimizer=layer_rates(("h*", 0.5), ("hidden1", 0.1)))

    assert (mistake.pointer, mistake.code) == ("/optimizer/layer_rates/1/layers", "shadowed")


def test_freezing_every_layer_is_refused() -> None:
    mistake = only(optimizer=layer_rates(("*", 0)))

    assert (mistake.pointer, mistake.code) == ("/optimizer/layer_rates", "nothing_to_train")
    assert plan(optimizer=layer_rates(("output", 1), ("*", 0)))


def test_a_network_without_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.networks.describe", lambda *_: [Flatten("flatten")])

    assert only(regularization={"max_norm": 1.0}).code == "nothing_to_train"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"loss": {"kind": "cross_entropy", "label_smoothing": 0.6}},
            ("/loss/label_smoothing", "mostly_smoothed"),
        ),
        (
            {"optimizer": {"kind": "sgd", "momentum": {"form": "classical", "m": 0.999}}},
            ("/schedule/learning_rate", "large_steps"),
        ),
        (alone("triangular", maximum=2.0, half=5), ("/schedule/maximum", "large_steps")),
        (
            alone("constant") | {"optimizer": {"kind": "adam"}, "schedule": {"kind": "constant", "learning_rate": 0.2}},
            ("/schedule/learning_rate", "large_steps"),
        ),
        (
            alone("one_cycle", maximum=0.2) | {"optimizer": {"kind": "adamw"}},
            ("/schedule/maximum", "large_steps"),
        ),
        (
            alone("triangular", maximum=0.5, half=5) | {"regularization": {"decoupled_weight_decay": 3.0}},
            ("/regularization/decoupled_weight_decay", "large_decay"),
        ),
    ],
)
def test_updates_far_larger_than_usual_are_warned_of(changes: dict[str, object], expected: tuple[str, str]) -> None:
    assert codes(**changes) == [expected]
