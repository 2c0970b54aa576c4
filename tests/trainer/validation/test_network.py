"""Names, shapes, order and size of layers."""

import pytest

from tests.trainer.validation.plans import CONVOLUTION, FLATTEN, RELU, codes, only, plan, residual
from trainer.data import DataFacts


def small(side: int, channels: int = 1) -> DataFacts:
    return DataFacts("small", "0" * 64, channels, side, side, ("a", "b", "c", "d"), 100, 10)


def test_a_kernel_larger_than_its_input_is_refused_with_layer_and_shapes() -> None:
    mistake = only(network={"kind": "convnet", "kernel_size": 31, "padding": 0})

    assert mistake.pointer == "/network/kernel_size"
    assert "Layer 0 (conv1) is given 1×28×28: its 31×31 kernel is larger than the input" in mistake.detail


def test_pooling_to_nothing_is_refused_with_layer_and_shapes() -> None:
    mistake = only(network={"kind": "convnet", "channels": [4, 4, 4, 4, 4]})

    assert mistake.pointer == "/network/pool_size"
    assert "Layer 14 (pool5) is given 4×1×1" in mistake.detail


@pytest.mark.parametrize(
    ("network", "side", "place", "part"),
    [
        ({"kind": "vgg"}, 31, "/network/padding", "(stage5.pool) is given 512×1×1: pooling 2×2 windows"),
        ({"kind": "vgg"}, 31, "/network/padding", "VGG needs images of at least 32×32, its padding included"),
        ({"kind": "alexnet"}, 66, "/network/variant", "(pool5) is given 256×2×2"),
        ({"kind": "alexnet"}, 66, "/network/variant", "at least 67×67; use variant: small."),
        ({"kind": "alexnet"}, 8, "/network/variant", "Layer 0 (conv1) is given 1×8×8: its 11×11 kernel is larger"),
        ({"kind": "alexnet", "variant": "small"}, 14, "/network/variant", "at least 15×15."),
    ],
)
def test_a_family_refuses_images_that_are_too_small(
    network: dict[str, object], side: int, place: str, part: str
) -> None:
    mistake = only(small(side), network=network, batch_size=10)

    assert (mistake.pointer, mistake.code) == (place, "shape_mismatch")
    assert part in mistake.detail


@pytest.mark.parametrize(
    ("network", "side"),
    [
        ({"kind": "vgg"}, 32),
        ({"kind": "vgg", "padding": 2}, 28),
        ({"kind": "alexnet"}, 67),
        ({"kind": "alexnet", "variant": "small"}, 15),
        ({"kind": "resnet", "depth": 8}, 1),
        ({"kind": "resnet", "depth": 18}, 1),
    ],
)
def test_a_family_takes_the_smallest_images_that_it_promises(network: dict[str, object], side: int) -> None:
    assert plan(small(side), network=network, batch_size=10)


def test_an_imagenet_stem_is_refused_for_depths_that_have_none() -> None:
    mistake = only(network={"kind": "resnet", "depth": 20, "stem": "imagenet"})

    assert (mistake.pointer, mistake.code) == ("/network/stem", "unknown_choice")
    assert "18, 34, 50, 101, 152" in mistake.detail


@pytest.mark.parametrize(
    ("layers", "place", "code", "part"),
    [
        (
            [CONVOLUTION, RELU, {"kind": "convolution", "channels": 4, "kernel_size": 31}],
            "/network/layers/2",
            "shape_mismatch",
            "Layer 2 (conv2) is given 8×28×28: its 31×31 kernel is larger than the input, which is 28×28",
        ),
        (
            [CONVOLUTION, {"kind": "linear", "units": 5}, RELU],
            "/network/layers/1",
            "shape_mismatch",
            "Layer 1 (linear1) is given 8×28×28: it takes 6272 features. Put flatten",
        ),
        (
            [FLATTEN, RELU, CONVOLUTION],
            "/network/layers/2",
            "shape_mismatch",
            "is given 784: it takes an image",
        ),
        ([FLATTEN, {"kind": "max_pool"}], "/network/layers/1", "shape_mismatch", "it takes an image"),
        ([{"kind": "max_pool", "size": 29}], "/network/layers/0", "shape_mismatch", "leave nothing of it"),
        ([{"kind": "average_pool", "padding": 2}], "/network/layers/0", "shape_mismatch", "can be at most 1"),
        (
            [residual(CONVOLUTION)],
            "/network/layers/0",
            "shape_mismatch",
            "Layer 0 (residual1) is given 1×28×28: its branch gives 8×28×28, to which 1×28×28 cannot be added.",
        ),
        (
            [CONVOLUTION, residual(CONVOLUTION, RELU, {"kind": "max_pool", "size": 30})],
            "/network/layers/1/branch/2",
            "shape_mismatch",
            "Layer 3 (residual1.pool1)",
        ),
        (
            [residual(CONVOLUTION, shortcut=[RELU, {"kind": "linear", "units": 3}])],
            "/network/layers/0/shortcut/1",
            "shape_mismatch",
            "Layer 2 (residual1.shortcut.linear1)",
        ),
        (
            [CONVOLUTION, RELU, {**CONVOLUTION, "name": "conv1"}],
            "/network/layers/2",
            "duplicate_name",
            "2 layers are named conv1",
        ),
        ([{**CONVOLUTION, "name": "output"}], "/network/layers/0", "duplicate_name", "named output"),
        ([CONVOLUTION, RELU, {**CONVOLUTION, "name": "half"}], "/network/layers/2", "reserved_name", "another name"),
        ([residual({**RELU, "name": "shortcut"})], "/network/layers/0/branch/0", "reserved_name", "another name"),
    ],
)
def test_a_list_of_layers_that_does_not_fit_is_refused_where_it_stands(
    layers: list[object], place: str, code: str, part: str
) -> None:
    mistake = only(network={"kind": "layers", "layers": layers})

    assert (mistake.pointer, mistake.code) == (place, code)
    assert part in mistake.detail


@pytest.mark.parametrize("field", ["batch_norm", "dropout"])
def test_a_place_behind_no_layer_is_refused(field: str) -> None:
    part = {"after": ["conv1", "stage1.block1.conv7"]} | ({"drop": 0.5} if field == "dropout" else {})

    mistake = only(network={"kind": "resnet", "depth": 8, field: part})

    assert (mistake.pointer, mistake.code) == (f"/network/{field}/after/1", "unknown_layer")
    assert "did you mean stage1.block1.conv" in mistake.detail


def test_a_place_that_is_like_no_layer_is_refused_with_all_of_them() -> None:
    mistake = only(network={"kind": "mlp", "dropout": {"drop": 0.5, "after": ["zzz"]}})

    assert "The layers are flatten, hidden1, activation1, output." in mistake.detail


def test_batch_norm_over_a_single_value_inside_a_block_is_refused() -> None:
    mistake = only(small(4), network={"kind": "resnet", "depth": 8}, batch_size=1)

    assert mistake.code == "single_value_batch_norm"
    assert "stage3.block1.norm1" in mistake.detail


def test_lenet_refuses_images_that_are_too_small() -> None:
    small = DataFacts("small", "0" * 64, 1, 8, 8, ("a", "b"), 100, 10)

    assert only(small, network={"kind": "lenet", "padding": 0}, batch_size=10).pointer == "/network"


@pytest.mark.parametrize(("batch_size", "last_batch"), [(1, "keep"), (1, "drop"), (3999, "keep")])
def test_batch_norm_over_a_single_value_is_refused(batch_size: int, last_batch: str) -> None:
    network = {"kind": "mlp", "batch_norm": {}}

    mistake = only(network=network, batch_size=batch_size, last_batch=last_batch)

    assert mistake.code == "single_value_batch_norm"


def test_batch_norm_over_one_image_of_many_pixels_is_fine() -> None:
    assert plan(network={"kind": "convnet", "channels": [4], "batch_norm": {}}, batch_size=3999)
    assert plan(network={"kind": "mlp", "batch_norm": {}}, batch_size=3999, last_batch="drop")


def test_an_absurdly_large_network_is_refused_with_its_size() -> None:
    mistake = only(network={"kind": "mlp", "hidden": [65536, 65536]})

    assert mistake.pointer == "/network"
    assert "4,347,133,962 parameters" in mistake.detail


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"network": {"kind": "mlp", "batch_norm": {}}, "batch_size": 4}, ("/batch_size", "noisy_batch_norm")),
        ({"network": {"kind": "resnet", "depth": 18}}, ("/network/stem", "coarse_stem")),
        (
            {"network": {"kind": "mlp", "hidden": [5, 5], "batch_norm": {}, "dropout": {"drop": 0.5}}},
            ("/network/dropout", "dropout_before_batch_norm"),
        ),
        (
            {"network": {"kind": "resnet", "depth": 8, "dropout": {"drop": 0.5, "after": ["stage1.block1.conv1"]}}},
            ("/network/dropout", "dropout_before_batch_norm"),
        ),
        (
            {
                "network": {
                    "kind": "layers",
                    "layers": [FLATTEN, {"kind": "dropout", "drop": 0.1}, {"kind": "batch_norm"}, RELU],
                }
            },
            ("/network/layers/1", "dropout_before_batch_norm"),
        ),
        (
            {"network": {"kind": "mlp", "dropout": {"drop": 0.5, "after": ["output"]}}},
            ("/network/dropout", "dropped_logits"),
        ),
        (
            {"network": {"kind": "mlp", "batch_norm": {"after": ["output"]}}},
            ("/network/batch_norm", "batch_norm_at_output"),
        ),
        (
            {"network": {"kind": "layers", "layers": [CONVOLUTION, RELU, {"kind": "batch_norm"}]}},
            ("/network/layers/2", "batch_norm_at_output"),
        ),
        (
            {"network": {"kind": "layers", "layers": [FLATTEN, {"kind": "linear", "units": 5}]}},
            ("/network/layers/1", "no_nonlinearity"),
        ),
        (
            {
                "network": {
                    "kind": "layers",
                    "layers": [residual(CONVOLUTION, CONVOLUTION, RELU, shortcut=[CONVOLUTION])],
                }
            },
            ("/network/layers/0/branch/1", "no_nonlinearity"),
        ),
    ],
)
def test_layers_that_will_hardly_do_as_wished_are_warned_of(
    changes: dict[str, object], expected: tuple[str, str]
) -> None:
    assert codes(**changes) == [expected]
