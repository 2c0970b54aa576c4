"""What a spec may say, and what is answered to everything else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.specs import document
from trainer.errors import Mistake, SpecInvalid
from trainer.parsing import DEEPEST_NESTING, MOST_MISTAKES, parse, pointer
from trainer.spec import TrainingSpec


def mistakes(value: object) -> list[Mistake]:
    text = value if isinstance(value, str | bytes) else json.dumps(value)
    with pytest.raises(SpecInvalid) as caught:
        parse(text)
    return list(caught.value.mistakes)


def only(value: object) -> Mistake:
    (mistake,) = mistakes(value)
    return mistake


def test_defaults_are_filled_in() -> None:
    spec = parse(json.dumps({**document(), "ensemble": {"kind": "none"}}))

    assert spec.batch_size == 128
    assert spec.preprocessing.centre == "per_channel"
    assert spec.network.initialization.kind == "he"


def test_a_resolved_spec_parses_to_itself() -> None:
    spec = parse(json.dumps(document()))

    assert parse(spec.model_dump_json()) == spec


def test_a_spec_cannot_be_changed() -> None:
    spec = parse(json.dumps(document()))

    with pytest.raises(ValueError, match="frozen"):
        spec.epochs = 3  # type: ignore[misc]


def test_name_and_labels_do_not_change_the_hash_and_all_else_does() -> None:
    spec = parse(json.dumps(document()))

    assert parse(json.dumps(document(name="other", labels={"a": "b"}))).sha256 == spec.sha256
    assert parse(json.dumps(document(priority=9, max_runtime=60, max_attempts=2))).sha256 == spec.sha256
    assert parse(json.dumps(document(seed=1))).sha256 != spec.sha256


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "line 1, column 1"),
        ("{", "line 1, column 2"),
        ('{"epochs": NaN}', "NaN is not a number in JSON"),
        ('{"epochs": -Infinity}', "-Infinity is not a number"),
        ('{"a": 1, "a": 2}', '"a" stands twice'),
        (b"\xff\xfe", "not UTF-8"),
        ("[" * (DEEPEST_NESTING + 1), "deeper than 32"),
        ('{"a":' * 100_000, "deeper than 32"),
        ('{"epochs": ' + "9" * 5000 + "}", "too many digits"),
    ],
)
def test_what_is_not_a_json_document_is_refused_as_a_whole(text: str | bytes, part: str) -> None:
    mistake = only(text)

    assert (mistake.pointer, mistake.code) == ("", "invalid_json")
    assert part in mistake.detail


def test_brackets_inside_strings_are_no_nesting() -> None:
    assert parse(json.dumps(document(name="[" * 100))).name == "[" * 100


@pytest.mark.parametrize(
    ("changes", "at", "code", "part"),
    [
        ({"epoch": 3}, "/epoch", "unknown_key", "did you mean epochs?"),
        ({"batch": 3}, "/batch", "unknown_key", "did you mean batch_size?"),
        ({"zzz": 3}, "/zzz", "unknown_key", "Known keys: augmentation"),
        ({"epochs": "3"}, "/epochs", "int_type", 'must be an integer; it is "3"'),
        ({"epochs": 2.5}, "/epochs", "int_type", "must be an integer; it is 2.5"),
        ({"epochs": True}, "/epochs", "int_type", "it is true"),
        ({"epochs": 0}, "/epochs", "greater_than_equal", "at least 1; it is 0"),
        ({"epochs": -1}, "/epochs", "greater_than_equal", "it is -1"),
        ({"epochs": 10**9}, "/epochs", "less_than_equal", "at most 10000"),
        ({"batch_size": 0}, "/batch_size", "greater_than_equal", "at least 1"),
        ({"seed": -1}, "/seed", "greater_than_equal", "at least 0"),
        ({"seed": 2**60}, "/seed", "less_than_equal", "at most 9007199254740991"),
        ({"name": ""}, "/name", "string_too_short", "at least 1"),
        ({"name": "x" * 201}, "/name", "string_too_long", "at most 200"),
        ({"name": 5}, "/name", "string_type", "must be a string"),
        ({"name": "a\x00b"}, "/name", "control_character", "plain text"),
        ({"name": "\ud800"}, "/name", "control_character", "plain text"),
        ({"labels": {"a b": "x"}}, "/labels/a b", "string_pattern_mismatch", "pattern"),
        ({"labels": {"kind": 3}}, "/labels/kind", "string_type", "must be a string"),
        ({"labels": {f"k{n}": "v" for n in range(33)}}, "/labels", "too_long", "at most 32"),
        ({"priority": 101}, "/priority", "less_than_equal", "at most 100"),
        ({"max_runtime": 0}, "/max_runtime", "greater_than_equal", "at least 1"),
        ({"max_attempts": 0}, "/max_attempts", "greater_than_equal", "at least 1"),
        ({"dataset": "../etc/passwd"}, "/dataset", "string_pattern_mismatch", "pattern"),
        ({"network": 3}, "/network", "dict_type", "must be an object"),
        ({"network": {}}, "/network/kind", "missing", "one of mlp, lenet, convnet"),
        ({"network": {"kind": "resnett"}}, "/network/kind", "unknown_kind", "one of mlp, lenet, convnet"),
        ({"network": {"kind": "mpl"}}, "/network/kind", "unknown_kind", "did you mean mlp?"),
        ({"network": {"kind": "mlp", "hiden": [3]}}, "/network/hiden", "unknown_key", "did you mean hidden?"),
        ({"network": {"kind": "mlp", "mlp": 1}}, "/network/mlp", "unknown_key", "Known keys"),
        ({"network": {"kind": "mlp", "hidden": [3, 0]}}, "/network/hidden/1", "greater_than_equal", "it is 0"),
        ({"network": {"kind": "mlp", "hidden": 3}}, "/network/hidden", "tuple_type", "must be a list"),
        ({"network": {"kind": "mlp", "activation": "gelu"}}, "/network/activation", "unknown_choice", "relu"),
        ({"network": {"kind": "convnet", "channels": []}}, "/network/channels", "too_short", "at least 1"),
        ({"network": {"kind": "resnet", "depth": 19}}, "/network/depth", "unknown_choice", "14, 18, 20"),
        ({"network": {"kind": "vgg", "depth": 12}}, "/network/depth", "unknown_choice", "11, 13, 16 or 19; it is 12"),
        ({"network": {"kind": "alexnet", "variant": "big"}}, "/network/variant", "unknown_choice", "imagenet"),
        ({"network": {"kind": "layers"}}, "/network/layers", "missing", "`layers` is missing"),
        ({"network": {"kind": "layers", "layers": []}}, "/network/layers", "too_short", "at least 1"),
        (
            {"network": {"kind": "layers", "layers": [{"kind": "flatten"}, {"kind": "conv"}]}},
            "/network/layers/1/kind",
            "unknown_kind",
            "one of convolution, linear",
        ),
        (
            {"network": {"kind": "layers", "layers": [{"kind": "linear"}]}},
            "/network/layers/0/units",
            "missing",
            "`units` is missing. Outputs.",
        ),
        (
            {"network": {"kind": "layers", "layers": [{"kind": "flatten", "name": "Big"}]}},
            "/network/layers/0/name",
            "string_pattern_mismatch",
            "pattern",
        ),
        (
            {"network": {"kind": "layers", "layers": [{"kind": "residual", "branch": [{"kind": "dropout"}]}]}},
            "/network/layers/0/branch/0/drop",
            "missing",
            "Probability of setting a unit to zero",
        ),
        (
            {"network": {"kind": "layers", "layers": [{"kind": "residual", "branch": [{"kind": "flatten", "x": 1}]}]}},
            "/network/layers/0/branch/0/x",
            "unknown_key",
            "Known keys: kind, name",
        ),
        (
            {"network": {"kind": "layers", "layers": [{"kind": "residual", "branch": [{"kind": "residual"}]}]}},
            "/network/layers/0/branch/0/kind",
            "unknown_kind",
            "one of convolution",
        ),
        (
            {"network": {"kind": "mlp", "dropout": {"drop": 1.0}}},
            "/network/dropout/drop",
            "less_than",
            "less than 1",
        ),
        ({"network": {"kind": "mlp", "dropout": {}}}, "/network/dropout/drop", "missing", "`drop` is missing"),
        (
            {"network": {"kind": "mlp", "initialization": {"kind": "he", "std": 1}}},
            "/network/initialization/std",
            "unknown_key",
            "Known keys: distribution, kind",
        ),
        (
            {"optimizer": {"kind": "sgd", "momentum": {"form": "averaged", "b": 0}}},
            "/optimizer/momentum/b",
            "greater_than",
            "greater than 0",
        ),
        (
            {"optimizer": {"kind": "sgd", "momentum": {"form": "classical", "m": 1}}},
            "/optimizer/momentum/m",
            "less_than",
            "less than 1",
        ),
        (
            {"optimizer": {"kind": "sgd", "momentum": {"form": "heavy"}}},
            "/optimizer/momentum/form",
            "unknown_form",
            "none, averaged, classical, nesterov",
        ),
        (
            {"schedule": {"kind": "constant", "learning_rate": 0}},
            "/schedule/learning_rate",
            "greater_than",
            "greater than 0",
        ),
        (
            {"augmentation": [{"kind": "random_crop", "padding": 1}, {"kind": "random_crop", "padding": 0}]},
            "/augmentation/1/padding",
            "greater_than_equal",
            "at least 1",
        ),
        (
            {"preprocessing": {"whitening": {"kind": "zcaa"}}},
            "/preprocessing/whitening/kind",
            "unknown_kind",
            "did you mean zca?",
        ),
        ({"preprocessing": {"whitening": {}}}, "/preprocessing/whitening/kind", "missing", "one of zca, pca"),
        (
            {"preprocessing": {"whitening": {"kind": "pca", "epsilon": 0}}},
            "/preprocessing/whitening/epsilon",
            "greater_than",
            "greater than 0",
        ),
        (
            {"augmentation": [{"kind": "color_jitter", "brightness": 1.5}]},
            "/augmentation/0/brightness",
            "less_than_equal",
            "at most 1",
        ),
        ({"augmentation": [{"kind": "color_jitter", "hue": 0.6}]}, "/augmentation/0/hue", "less_than_equal", "0.5"),
        (
            {"augmentation": [{"kind": "pca_lighting", "std": -1}]},
            "/augmentation/0/std",
            "greater_than",
            "greater than 0",
        ),
        ({"augmentation": [{"kind": "cutout"}]}, "/augmentation/0/size", "missing", "Side of the square"),
        ({"augmentation": [{"kind": "cutout", "size": 0}]}, "/augmentation/0/size", "greater_than_equal", "it is 0"),
        ({"augmentation": [{"kind": "mixup", "alpha": 0}]}, "/augmentation/0/alpha", "greater_than_equal", "0.01"),
        ({"loss": {"kind": "hinge"}}, "/loss/kind", "unknown_kind", "cross_entropy"),
        (
            {"loss": {"kind": "cross_entropy", "label_smoothing": 1.0}},
            "/loss/label_smoothing",
            "less_than",
            "less than 1",
        ),
        ({"regularization": {"weight_decay": -1}}, "/regularization/weight_decay", "greater_than_equal", "it is -1"),
        ({"optimizer": {"kind": "adam", "beta2": 1}}, "/optimizer/beta2", "less_than", "less than 1"),
        ({"optimizer": {"kind": "adams"}}, "/optimizer/kind", "unknown_kind", "did you mean adam?"),
        (
            {"optimizer": {"kind": "adamw", "layer_rates": [{"layers": "*", "factor": -1}]}},
            "/optimizer/layer_rates/0/factor",
            "greater_than_equal",
            "at least 0",
        ),
        (
            {"schedule": {"kind": "cosine_restarts", "learning_rate": 0.1, "first": 1, "factor": 0}},
            "/schedule/factor",
            "greater_than_equal",
            "at least 1",
        ),
        (
            {"schedule": {"kind": "multistep", "learning_rate": 0.1, "after": [2, 0]}},
            "/schedule/after/1",
            "greater_than_equal",
            "at least 1",
        ),
        (
            {"schedule": {"kind": "linear", "learning_rate": 0.1, "warmup": {"epochs": 1, "starts": 1}}},
            "/schedule/warmup/starts",
            "unknown_key",
            "did you mean start?",
        ),
        (
            {"regularization": {"gradient_clipping": {}}},
            "/regularization/gradient_clipping/norm",
            "missing",
            "`norm` is missing",
        ),
    ],
)
def test_each_mistake_points_at_its_place_and_says_what_would_be_right(
    changes: dict[str, object], at: str, code: str, part: str
) -> None:
    mistake = only(document(**changes))

    assert (mistake.pointer, mistake.code) == (at, code)
    assert part in mistake.detail


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        (
            {"epochs": 0},
            "This must be at least 1; it is 0. Passes over the training split, of each model that is trained.",
        ),
        (
            {"optimizer": {"kind": "sgd", "momentum": {"form": "classical", "m": 1}}},
            "This must be less than 1.0; it is 1. Share of the velocity that is kept; of 1 none would fade.",
        ),
        (
            {"schedule": {"kind": "cosine_restarts", "learning_rate": 0.1, "first": 1, "factor": 0.5}},
            "This must be an integer; it is 0.5. Each cycle is so many times as long as the last, T_mult: a whole "
            "number, at least 1, for cycles end with epochs.",
        ),
        ({"network": {"kind": "mlp", "hidden": [3, 0]}}, "This must be at least 1; it is 0. Units of"),
        ({"labels": {"kind": 3}}, "This must be a string; it is 3. Your own keys and values, to find jobs by."),
        (
            {
                "network": {
                    "kind": "layers",
                    "layers": [{"kind": "residual", "branch": [{"kind": "linear", "units": 0}]}],
                }
            },
            "This must be at least 1; it is 0. Outputs.",
        ),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_what_the_field_means(changes: dict[str, object], detail: str) -> None:
    assert only(document(**changes)).detail.startswith(detail)


@pytest.mark.parametrize("key", ["epochs", "steps", "T", "end"])
def test_a_schedule_that_ends_before_the_training_cannot_be_written(key: str) -> None:
    mistake = only(document(schedule={"kind": "cosine", "learning_rate": 0.1, key: 2}))

    assert (mistake.pointer, mistake.code) == (f"/schedule/{key}", "unknown_key")
    assert "A schedule lasts as long as the training, whose `epochs` stand at the top" in mistake.detail


def test_a_loss_without_soft_targets_for_mixup_cannot_be_written() -> None:
    mistake = only(document(loss={"kind": "hinge"}, augmentation=[{"kind": "mixup"}]))

    assert (mistake.pointer, mistake.code) == ("/loss/kind", "unknown_kind")
    assert mistake.detail.endswith(
        "It is one of cross_entropy. The only loss: it takes the soft targets that mixup and label smoothing make."
    )


@pytest.mark.parametrize("layer", [{"kind": "flatten"}, {"kind": "linear", "units": 3}])
def test_max_norm_of_a_single_layer_cannot_be_written(layer: dict[str, object]) -> None:
    mistake = only(document(network={"kind": "layers", "layers": [{**layer, "max_norm": 3.0}]}))

    assert (mistake.pointer, mistake.code) == ("/network/layers/0/max_norm", "unknown_key")
    assert "write `max_norm` in `regularization` of the spec" in mistake.detail


def test_an_overflowing_number_is_not_finite() -> None:
    text = json.dumps(document()).replace("0.05", "1e999")

    assert only(text).detail.startswith("This must be a finite number; it is Infinity.")


def test_all_mistakes_are_told_at_once() -> None:
    found = mistakes(document(epochs=0, batch_size=0, seed="x"))

    assert {mistake.pointer for mistake in found} == {"/epochs", "/batch_size", "/seed"}


def test_long_values_are_cut() -> None:
    assert len(only(document(epochs="x" * 10_000)).detail) < 180


def test_pointers_are_escaped() -> None:
    assert pointer("a/b", "c~d", 0) == "/a~1b/c~0d/0"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def refused(text: str | bytes) -> list[Mistake]:
    """The mistakes in a document; none where it is a spec."""
    try:
        parse(text)
    except SpecInvalid as error:
        return list(error.mistakes)
    return []


@given(st.sampled_from(sorted(TrainingSpec.model_fields)), json_values)
def test_any_value_anywhere_parses_or_is_refused_with_pointers_into_the_document(key: str, value: object) -> None:
    found = refused(json.dumps(document(**{key: value})))

    assert all(mistake.pointer.startswith(f"/{key}") and mistake.detail for mistake in found)


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_with_a_sentence(data: bytes) -> None:
    found = refused(data)

    assert found
    assert all(mistake.detail for mistake in found)


def test_the_json_schema_describes_every_field() -> None:
    schema = TrainingSpec.model_json_schema()

    for model in [schema, *schema["$defs"].values()]:
        assert "description" in model, model.get("title")
        for name, field in model["properties"].items():
            assert "description" in field or "const" in field, (model["title"], name)


def test_a_megabyte_of_keys_is_read_in_one_go() -> None:
    """Looked for one by one, the key that stands twice would take minutes to find."""
    keys = ", ".join(f'"key{number}": 1' for number in range(60_000))

    with pytest.raises(SpecInvalid) as refused:
        parse(f'{{{keys}, "key59999": 2}}')

    assert "key59999" in refused.value.mistakes[0].detail


def test_a_hundred_mistakes_are_told_and_not_a_hundred_thousand() -> None:
    unknown = {f"key{number}": 1 for number in range(60_000)}
    unstorable = {"labels": {f"key{number}": "\u0000" for number in range(60_000)}}

    for more in (unknown, unstorable):
        with pytest.raises(SpecInvalid) as refused:
            parse(json.dumps(document(**more)))
        assert len(refused.value.mistakes) == MOST_MISTAKES
