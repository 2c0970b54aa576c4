"""What one field demands of another and of the data set, and the plan of what is left."""

import json
from dataclasses import replace

import pytest

from tests.specs import document
from trainer import data
from trainer.data import DataFacts
from trainer.errors import Mistake, SpecInvalid
from trainer.layers import Flatten
from trainer.parsing import parse
from trainer.plan import Plan, check

FACTS = data.load("mnist5k").facts


def plan(facts: DataFacts = FACTS, **changes: object) -> Plan:
    return check(parse(json.dumps(document(**changes))), facts)


def only(facts: DataFacts = FACTS, **changes: object) -> Mistake:
    with pytest.raises(SpecInvalid) as caught:
        plan(facts, **changes)
    (mistake,) = caught.value.mistakes
    return mistake


def cycles(count: int) -> dict[str, object]:
    return {"kind": "snapshot_cycles", "learning_rate": 0.1, "cycles": count}


def codes(**changes: object) -> list[tuple[str, str]]:
    return [(warning.pointer, warning.code) for warning in plan(**changes).warnings]


def test_epochs_must_divide_into_cycles() -> None:
    mistake = only(epochs=20, schedule=cycles(3))

    assert (mistake.pointer, mistake.code) == ("/schedule/cycles", "not_divisible")
    assert "use 2 or 4 cycles, or 21 epochs" in mistake.detail


def test_more_snapshots_than_cycles_are_refused() -> None:
    assert only(ensemble={"kind": "snapshots", "last": 3}).pointer == "/ensemble/last"


def flat(ensemble: dict[str, object], **changes: object) -> dict[str, object]:
    """At a constant rate for ten epochs."""
    return {"schedule": {"kind": "constant", "learning_rate": 0.1}, "epochs": 10, "ensemble": ensemble, **changes}


def test_averages_that_would_not_come_are_refused() -> None:
    late, never = only(**flat({"kind": "swa", "start": 10})), only(**flat({"kind": "swa", "start": 4, "every": 7}))

    assert (late.pointer, late.code) == ("/ensemble/start", "too_late")
    assert (never.pointer, never.code) == ("/ensemble/every", "never_comes")
    assert "use at most 6" in never.detail
    assert plan(**flat({"kind": "swa", "start": 4, "every": 6})).snapshot_epochs == (10,)


@pytest.mark.parametrize(
    ("ensemble", "pointer"),
    [
        ({"kind": "independent", "members": 1}, "/ensemble/members"),
        ({"kind": "ema", "decay": 0.0}, "/ensemble/decay"),
        ({"kind": "ema", "decay": 1.0}, "/ensemble/decay"),
        ({"kind": "swa", "start": 0}, "/ensemble/start"),
    ],
)
def test_ensembles_out_of_bounds_are_refused(ensemble: dict[str, object], pointer: str) -> None:
    assert only(**flat(ensemble)).pointer == pointer


def test_members_ends_are_their_snapshots_and_their_steps_add_up() -> None:
    found = plan(**flat({"kind": "independent", "members": 3}))

    assert found.snapshot_epochs == (10, 20, 30)
    assert found.steps == 3 * 10 * found.steps_per_epoch
    assert len(found.learning_rates) == 11


def test_averaged_weights_are_kept_beside_the_weights() -> None:
    averaged, alone = plan(**flat({"kind": "swa", "start": 5})), plan(**flat({"kind": "none"}))

    assert averaged.memory.weights == 2 * alone.memory.weights
    assert averaged.memory.gradients == alone.memory.gradients


def test_a_snapshot_ensemble_needs_cycles() -> None:
    mistake = only(schedule={"kind": "constant", "learning_rate": 0.1})

    assert mistake.pointer == "/ensemble/kind"
    assert "snapshot_cycles" in mistake.detail


def test_a_cosine_that_rises_is_refused() -> None:
    schedule = {"kind": "cosine", "learning_rate": 0.1, "minimum": 0.2}

    assert only(schedule=schedule, ensemble={"kind": "none"}).pointer == "/schedule/minimum"


def alone(kind: str, **settings: object) -> dict[str, object]:
    """A schedule with no ensemble, in 20 epochs."""
    return {
        "schedule": {"kind": kind, "learning_rate": 0.05, **settings},
        "ensemble": {"kind": "none"},
        "epochs": 20,
    }


@pytest.mark.parametrize(
    ("changes", "place", "code"),
    [
        (alone("linear", minimum=0.1), "/schedule/minimum", "above_learning_rate"),
        (alone("polynomial", minimum=0.1), "/schedule/minimum", "above_learning_rate"),
        (alone("cosine_restarts", first=5, minimum=0.1), "/schedule/minimum", "above_learning_rate"),
        (alone("plateau", minimum=0.1), "/schedule/minimum", "above_learning_rate"),
        (alone("triangular", maximum=0.01, half=2), "/schedule/maximum", "below_learning_rate"),
        (alone("one_cycle", maximum=0.01), "/schedule/maximum", "below_learning_rate"),
        (alone("one_cycle", maximum=0.1, minimum=0.2), "/schedule/minimum", "above_maximum"),
        (alone("multistep", after=[5, 15, 10]), "/schedule/after/2", "not_ascending"),
        (alone("multistep", after=[5, 5]), "/schedule/after/1", "not_ascending"),
        (alone("cosine_restarts", first=21), "/schedule/first", "longer_than_training"),
        (alone("constant", warmup={"epochs": 20}), "/schedule/warmup/epochs", "longer_than_training"),
        (alone("snapshot_cycles", cycles=2, warmup={"epochs": 30}), "/schedule/warmup/epochs", "longer_than_training"),
        (alone("snapshot_cycles", cycles=3, warmup={"epochs": 1.5}), "/schedule/warmup/epochs", "not_whole"),
        (alone("cosine_restarts", first=5, warmup={"epochs": 0.5}), "/schedule/warmup/epochs", "not_whole"),
        (alone("cosine_restarts", first=18, warmup={"epochs": 3}), "/schedule/first", "longer_than_training"),
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
def test_schedules_and_penalties_that_cannot_be_are_refused(changes: dict[str, object], place: str, code: str) -> None:
    mistake = only(**changes)

    assert (mistake.pointer, mistake.code) == (place, code)


def test_cycles_divide_what_the_warm_up_leaves() -> None:
    warm = {"epochs": 2}
    mistake = only(epochs=20, schedule=cycles(4) | {"warmup": warm})

    assert "18 epochs after 2 of warm-up cannot be divided into 4 equal cycles; use 3 or 6 cycles" in mistake.detail
    assert "or 18 epochs." in mistake.detail
    assert plan(epochs=18, schedule=cycles(4) | {"warmup": warm}).snapshot_epochs == (6, 10, 14, 18)


def restarts(first: int, factor: int = 1) -> dict[str, object]:
    return {"kind": "cosine_restarts", "learning_rate": 0.05, "first": first, "factor": factor}


def test_restarts_give_snapshots_to_an_ensemble() -> None:
    found = plan(epochs=14, schedule=restarts(2, 2), ensemble={"kind": "snapshots", "last": 3})

    assert found.snapshot_epochs == (2, 6, 14)
    assert found.warnings == ()


def test_more_snapshots_than_restarts_are_refused() -> None:
    assert (
        only(epochs=6, schedule=restarts(2, 2), ensemble={"kind": "snapshots", "last": 3}).pointer == "/ensemble/last"
    )


def test_an_ensemble_that_would_end_inside_a_cycle_is_refused_with_the_epochs_that_fit() -> None:
    mistake = only(epochs=10, schedule=restarts(2, 2))

    assert (mistake.pointer, mistake.code) == ("/epochs", "unfinished_cycle")
    assert "use 6 or 14 epochs" in mistake.detail


def layer_rates(*entries: tuple[str, float]) -> dict[str, object]:
    return {"kind": "sgd", "layer_rates": [{"layers": layers, "factor": factor} for layers, factor in entries]}


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


def test_a_batch_larger_than_the_training_split_is_refused() -> None:
    mistake = only(batch_size=4001)

    assert mistake.pointer == "/batch_size"
    assert "4000 images" in mistake.detail


def test_a_class_count_that_does_not_fit_the_data_is_refused() -> None:
    mistake = only(network={"kind": "mlp", "classes": 3})

    assert mistake.pointer == "/network/classes"
    assert "mnist5k has 10 classes, not 3" in mistake.detail


def test_a_kernel_larger_than_its_input_is_refused_with_layer_and_shapes() -> None:
    mistake = only(network={"kind": "convnet", "kernel_size": 31, "padding": 0})

    assert mistake.pointer == "/network/kernel_size"
    assert "Layer 0 (conv1) is given 1×28×28: its 31×31 kernel is larger than the input" in mistake.detail


def test_pooling_to_nothing_is_refused_with_layer_and_shapes() -> None:
    mistake = only(network={"kind": "convnet", "channels": [4, 4, 4, 4, 4]})

    assert mistake.pointer == "/network/pool_size"
    assert "Layer 14 (pool5) is given 4×1×1" in mistake.detail


def small(side: int, channels: int = 1) -> DataFacts:
    return DataFacts("small", "0" * 64, channels, side, side, ("a", "b", "c", "d"), 100, 10)


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


CONVOLUTION = {"kind": "convolution", "channels": 8, "padding": 1}
RELU = {"kind": "activation"}
FLATTEN = {"kind": "flatten"}


def residual(*branch: object, **parts: object) -> dict[str, object]:
    return {"kind": "residual", "branch": list(branch), **parts}


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


def test_a_crop_that_could_hold_nothing_of_the_image_is_refused() -> None:
    mistake = only(augmentation=[{"kind": "horizontal_flip"}, {"kind": "random_crop", "padding": 28}])

    assert mistake.pointer == "/augmentation/1/padding"


COLOUR = DataFacts("colours", "0" * 64, 3, 32, 32, ("a", "b"), 50_000, 10)
ZCA = {"centre": "per_pixel", "whitening": {"kind": "zca"}}


@pytest.mark.parametrize(
    ("facts", "change", "at", "code", "part"),
    [
        (FACTS, {"kind": "cutout", "size": 29}, "/augmentation/0/size", "larger_than_image", "use at most 28"),
        (
            FACTS,
            {"kind": "color_jitter", "brightness": 0.1, "saturation": 0.1},
            "/augmentation/0/saturation",
            "needs_colour",
            "for RGB images, and those of mnist5k have 1 channel",
        ),
        (FACTS, {"kind": "color_jitter", "hue": 0.1}, "/augmentation/0/hue", "needs_colour", "leave it out"),
        (FACTS, {"kind": "pca_lighting"}, "/augmentation/0/kind", "needs_colour", "leave it out"),
        (
            replace(COLOUR, channels=4),
            {"kind": "pca_lighting"},
            "/augmentation/0/kind",
            "needs_colour",
            "have 4 channels",
        ),
    ],
)
def test_a_change_that_does_not_fit_the_images_is_refused(
    facts: DataFacts, change: dict[str, object], at: str, code: str, part: str
) -> None:
    mistake = only(facts, augmentation=[change])

    assert (mistake.pointer, mistake.code) == (at, code)
    assert part in mistake.detail


def test_colour_images_take_every_change() -> None:
    changes = [
        {"kind": "color_jitter", "brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5},
        {"kind": "pca_lighting"},
        {"kind": "cutout", "size": 16},
        {"kind": "mixup"},
    ]

    assert plan(COLOUR, augmentation=changes).warnings == ()


def test_mixup_must_come_last() -> None:
    mistake = only(augmentation=[{"kind": "mixup"}, {"kind": "random_crop", "padding": 2}])

    assert (mistake.pointer, mistake.code) == ("/augmentation/0", "not_last")
    assert "move it to the end" in mistake.detail


def test_mixup_stands_once() -> None:
    mistake = only(augmentation=[{"kind": "mixup"}, {"kind": "mixup"}])

    assert (mistake.pointer, mistake.code) == ("/augmentation/1", "repeated")


@pytest.mark.parametrize("centre", ["per_channel", "none"])
def test_whitening_needs_every_pixel_centred(centre: str) -> None:
    mistake = only(preprocessing={**ZCA, "centre": centre})

    assert (mistake.pointer, mistake.code) == ("/preprocessing/centre", "not_centred")
    assert "use centre: per_pixel" in mistake.detail


def test_images_too_large_to_whiten_are_refused_with_their_size() -> None:
    mistake = only(replace(COLOUR, height=64, width=64), preprocessing=ZCA)

    assert (mistake.pointer, mistake.code) == ("/preprocessing/whitening", "larger_than_whitened")
    assert "3×64×64 = 12,288 values" in mistake.detail
    assert plan(COLOUR, preprocessing=ZCA).warnings == ()


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


def pruned(rounds: int, **settings: object) -> dict[str, object]:
    return {"kind": "lottery_ticket", "rounds": rounds, **settings}


def test_epochs_must_divide_into_a_training_more_than_rounds() -> None:
    mistake = only(pruning=pruned(2), epochs=10, schedule=cycles(2))

    assert (mistake.pointer, mistake.code) == ("/pruning/rounds", "not_divisible")
    assert "2 rounds make 3 trainings" in mistake.detail
    assert "use 1 rounds or 9 epochs" in mistake.detail


def test_cycles_must_divide_the_epochs_of_one_training() -> None:
    mistake = only(pruning=pruned(1), epochs=10, schedule=cycles(2))

    assert (mistake.pointer, mistake.code) == ("/schedule/cycles", "not_divisible")
    assert "5 epochs cannot be divided into 2 equal cycles; use 1 or 5 cycles, or 8 epochs" in mistake.detail


def test_a_pruning_that_leaves_no_weights_is_refused() -> None:
    mistake = only(pruning=pruned(9, rate=0.9), epochs=20, schedule=cycles(2))

    assert (mistake.pointer, mistake.code) == ("/pruning/rate", "nothing_left")
    assert "nothing is left of the 12,544 weights of layer 1 (hidden1) after 9 rounds" in mistake.detail
    assert "at most 4 rounds" in mistake.detail


def test_a_pruned_networks_memory_holds_its_mask() -> None:
    pruned_once = plan(pruning=pruned(1), schedule=cycles(2))

    assert pruned_once.memory.weights == 2 * plan().memory.weights


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(SpecInvalid) as caught:
        plan(epochs=3, batch_size=5000, network={"kind": "convnet", "kernel_size": 63})

    places = {mistake.pointer for mistake in caught.value.mistakes}
    assert places == {"/schedule/cycles", "/batch_size", "/network/kernel_size"}


def test_the_plan_tells_layers_rates_and_snapshots() -> None:
    found = plan(batch_size=100)

    assert found.steps_per_epoch == 40
    assert found.snapshot_epochs == (2, 4)
    assert found.learning_rates == pytest.approx((0.05, 0.025, 0.05, 0.025, 0.0), abs=1e-12)
    assert [row.name for row in found.layers] == ["flatten", "hidden1", "activation1", "output"]
    assert found.parameters == 28 * 28 * 16 + 16 + 16 * 10 + 10
    assert found.multiply_adds == 28 * 28 * 16 + 16 * 10


@pytest.mark.parametrize(("last_batch", "steps"), [("keep", 32), ("drop", 31)])
def test_the_last_batch_counts_when_it_is_kept(last_batch: str, steps: int) -> None:
    assert plan(batch_size=128, last_batch=last_batch).steps_per_epoch == steps


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


@pytest.mark.parametrize(
    "changes",
    [
        alone("linear"),
        alone("cosine") | {"epochs": 1},
        alone("cosine_restarts", first=1),
        alone("one_cycle", maximum=0.1),
        alone("triangular", maximum=0.1, half=2.5),
        alone("exponential", k=0.5),
        alone("constant", warmup={"epochs": 10}),
        alone("constant", warmup={"epochs": 1, "start": 0.1}, clock="epoch"),
        alone("constant") | {"optimizer": {"kind": "adamw"}},
    ],
)
def test_a_usual_schedule_has_no_warnings(changes: dict[str, object]) -> None:
    assert codes(**changes) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"network": {"kind": "mlp", "initialization": {"kind": "constant"}}},
            ("/network/initialization", "symmetric_units"),
        ),
        ({"network": {"kind": "mlp", "activation": "tanh"}}, ("/network/initialization", "wrong_gain")),
        ({"network": {"kind": "mlp", "batch_norm": {}}, "batch_size": 4}, ("/batch_size", "noisy_batch_norm")),
        ({"ensemble": {"kind": "none"}}, ("/ensemble", "unused_snapshots")),
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
        ({"augmentation": [{"kind": "horizontal_flip"}]}, ("/augmentation/0", "changes_meaning")),
        ({"augmentation": [{"kind": "color_jitter"}]}, ("/augmentation/0", "changes_nothing")),
        ({"augmentation": [{"kind": "cutout", "size": 20}]}, ("/augmentation/0/size", "hides_most")),
        ({"augmentation": [{"kind": "mixup"}], "batch_size": 1}, ("/batch_size", "no_partner")),
        (
            {"loss": {"kind": "cross_entropy", "label_smoothing": 0.6}},
            ("/loss/label_smoothing", "mostly_smoothed"),
        ),
        ({"preprocessing": ZCA}, ("/preprocessing/whitening/epsilon", "noise_amplified")),
        (
            {
                "network": {"kind": "convnet"},
                "preprocessing": {"centre": "per_pixel", "whitening": {"kind": "pca", "epsilon": 0.1}},
            },
            ("/preprocessing/whitening/kind", "no_neighbourhood"),
        ),
        (
            {"optimizer": {"kind": "sgd", "momentum": {"form": "classical", "m": 0.999}}},
            ("/schedule/learning_rate", "large_steps"),
        ),
        (
            {"schedule": {"kind": "step", "learning_rate": 0.1, "every": 4}, "ensemble": {"kind": "none"}},
            ("/schedule/every", "never_decays"),
        ),
        (alone("multistep", after=[5, 20]), ("/schedule/after/1", "never_decays")),
        (alone("step", every=15, warmup={"epochs": 5}), ("/schedule/every", "never_decays")),
        (alone("plateau", patience=20), ("/schedule/patience", "never_decays")),
        (
            alone("multistep", after=[11], factor=0.0005) | {"ensemble": {"kind": "swa", "start": 11}},
            ("/ensemble/start", "nearly_equal_weights"),
        ),
        (alone("constant") | {"ensemble": {"kind": "ema", "decay": 0.9999}}, ("/ensemble/decay", "remembers_start")),
        ({"ensemble": {"kind": "independent", "members": 2}}, ("/ensemble", "unused_snapshots")),
        (alone("triangular", maximum=0.1, half=21), ("/schedule/half", "never_peaks")),
        (alone("cosine_restarts", first=6), ("/epochs", "unfinished_cycle")),
        (alone("constant", warmup={"epochs": 11}), ("/schedule/warmup/epochs", "long_warmup")),
        (alone("constant", warmup={"epochs": 1}, clock="epoch"), ("/schedule/warmup/start", "idle_epoch")),
        (alone("exponential", k=0.8), ("/schedule", "vanishing_rate")),
        (alone("multistep", after=[3, 6, 9], factor=0.05), ("/schedule", "vanishing_rate")),
        (alone("polynomial", power=15.0), ("/schedule", "vanishing_rate")),
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
        (
            {
                "schedule": {"kind": "step", "learning_rate": 0.1, "every": 2},
                "ensemble": {"kind": "none"},
                "pruning": pruned(1),
            },
            ("/schedule/every", "never_decays"),
        ),
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
def test_what_will_hardly_go_as_wished_is_warned_of(changes: dict[str, object], expected: tuple[str, str]) -> None:
    assert codes(**changes) == [expected]


def test_what_execution_hardly_does_is_warned_of() -> None:
    assert codes(device="cpu", execution={"precision": "float16"}) == [("/execution/precision", "rarely_supported")]
    assert codes(execution={"memory_format": "channels_last"}) == [("/execution/memory_format", "no_convolutions")]
    assert codes(execution={"compile": True}) == [("/execution/compile", "short_training")]
    assert codes(epochs=80, execution={"compile": True, "precision": "bfloat16"}) == []
