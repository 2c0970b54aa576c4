"""How weights start."""

import pytest

from tests.trainer.validation.plans import CONVOLUTION, RELU, codes, only, plan, residual
from trainer.errors import SpecInvalid


def starting(kind: str, network: dict[str, object], **settings: object) -> dict[str, object]:
    return {**network, "initialization": {"kind": kind, **settings}}


@pytest.mark.parametrize(
    ("network", "place", "code", "remedy"),
    [
        (
            starting("random_walk", {"kind": "mlp", "activation": "tanh"}),
            "/network/initialization/gain",
            "unknown_gain",
            "1.1 to 1.3",
        ),
        (
            starting("random_walk", {"kind": "mlp", "activation": "sigmoid"}),
            "/network/initialization/gain",
            "unknown_gain",
            "none for sigmoid; give the gain, or use relu",
        ),
        (
            starting("lsuv", {"kind": "mlp"}, images=4_001),
            "/network/initialization/images",
            "larger_than_split",
            "training split has 4000; use fewer",
        ),
        (
            starting("data_dependent", {"kind": "convnet", "batch_norm": {}}),
            "/network/batch_norm",
            "data_dependent_with_batch_norm",
            "use batch_norm: null",
        ),
        (
            starting("data_dependent", {"kind": "layers", "layers": [CONVOLUTION | {"bias": False}, RELU]}),
            "/network/layers/0",
            "no_biases",
            "give it bias: true",
        ),
        (
            starting("fixup", {"kind": "resnet", "depth": 8}),
            "/network/batch_norm",
            "fixup_with_batch_norm",
            "use batch_norm: null",
        ),
        (
            starting(
                "fixup",
                {
                    "kind": "layers",
                    "layers": [{"kind": "batch_norm"}, residual(CONVOLUTION, shortcut=[CONVOLUTION]), RELU],
                },
            ),
            "/network/layers/0",
            "fixup_with_batch_norm",
            "layer 0 (norm1)",
        ),
        (starting("fixup", {"kind": "convnet"}), "/network/initialization", "no_residual_branches", "kind: resnet"),
        (
            starting("fixup", {"kind": "layers", "layers": [CONVOLUTION, residual(RELU)]}),
            "/network/initialization",
            "no_weights_in_branch",
            "give it a convolution",
        ),
    ],
)
def test_a_start_that_does_not_fit_the_network_is_refused(
    network: dict[str, object], place: str, code: str, remedy: str
) -> None:
    mistake = only(network=network)

    assert (mistake.pointer, mistake.code) == (place, code)
    assert remedy in mistake.detail


@pytest.mark.parametrize("kind", ["lsuv", "data_dependent"])
def test_one_image_is_too_few_to_look_at(kind: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        plan(network=starting(kind, {"kind": "mlp"}, images=1))

    (mistake,) = caught.value.mistakes
    assert mistake.pointer == "/network/initialization/images"
    assert "at least 2; it is 1" in mistake.detail


def test_a_given_gain_lets_any_nonlinearity_walk() -> None:
    assert codes(network=starting("random_walk", {"kind": "mlp", "activation": "tanh"}, gain=1.2)) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"network": {"kind": "mlp", "initialization": {"kind": "constant"}}},
            ("/network/initialization", "symmetric_units"),
        ),
        ({"network": {"kind": "mlp", "activation": "tanh"}}, ("/network/initialization", "wrong_gain")),
        ({"network": starting("orthogonal", {"kind": "mlp"})}, ("/network/initialization/gain", "wrong_gain")),
        (
            {"network": starting("lsuv", {"kind": "convnet", "batch_norm": {}})},
            ("/network/initialization", "scale_is_normalized"),
        ),
        (
            {"network": starting("data_dependent", {"kind": "mlp", "activation": "tanh"})},
            ("/network/initialization/between_layers", "not_homogeneous"),
        ),
        (
            {"network": starting("data_dependent", {"kind": "resnet", "depth": 8, "batch_norm": None})},
            ("/network/initialization/between_layers", "not_homogeneous"),
        ),
    ],
)
def test_a_start_that_hardly_helps_is_warned_of(changes: dict[str, object], expected: tuple[str, str]) -> None:
    assert codes(**changes) == [expected]
