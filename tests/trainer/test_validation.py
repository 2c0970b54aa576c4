"""What one field demands of another and of the data set, and the plan of what is left."""

import json
from dataclasses import replace

import pytest

from tests.specs import document
from trainer import data
from trainer.data import DataFacts
from trainer.errors import Mistake, SpecInvalid
from trainer.parsing import parse
from trainer.validation import Plan, check

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


def test_a_snapshot_ensemble_needs_cycles() -> None:
    mistake = only(schedule={"kind": "constant", "learning_rate": 0.1})

    assert mistake.pointer == "/ensemble/kind"
    assert "snapshot_cycles" in mistake.detail


def test_a_cosine_that_rises_is_refused() -> None:
    schedule = {"kind": "cosine", "learning_rate": 0.1, "minimum": 0.2}

    assert only(schedule=schedule, ensemble={"kind": "none"}).pointer == "/schedule/minimum"


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


def test_a_sound_spec_has_no_warnings() -> None:
    assert codes() == []


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
    ],
)
def test_what_will_hardly_go_as_wished_is_warned_of(changes: dict[str, object], expected: tuple[str, str]) -> None:
    assert codes(**changes) == [expected]
