"""Precision, layout and compiling."""

import json

import pytest

from tests.specs import document
from tests.trainer.validation.plans import FACTS, codes
from trainer.errors import SpecInvalid
from trainer.offer import Offer
from trainer.parsing import parse
from trainer.plan import check

HALF = Offer(1, frozenset({"float32", "bfloat16"}))


def test_what_execution_hardly_does_is_warned_of() -> None:
    assert codes(execution={"memory_format": "channels_last"}) == [("/execution/memory_format", "no_convolutions")]
    assert codes(execution={"compile": True}) == [("/execution/compile", "short_training")]
    assert codes(epochs=80, execution={"compile": True}) == []


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_precision_that_nobody_knows_to_be_there_is_warned_of(precision: str) -> None:
    assert codes(execution={"precision": precision}) == [("/execution/precision", "unknown_support")]


@pytest.mark.parametrize(("device", "name"), [("auto", "device"), ("cpu", "CPU"), ("cuda", "GPU")])
def test_a_precision_that_the_devices_lack_is_refused_with_reason_and_remedy(device: str, name: str) -> None:
    spec = parse(json.dumps(document(device=device, execution={"precision": "float16"})))

    with pytest.raises(SpecInvalid) as caught:
        check(spec, FACTS, HALF)

    (mistake,) = caught.value.mistakes
    assert (mistake.pointer, mistake.code) == ("/execution/precision", "precision_unavailable")
    assert f"No {name} here has fast arithmetic in float16" in mistake.detail
    assert "use bfloat16 or float32, or train on a device that has float16" in mistake.detail


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_that_the_devices_have_is_neither_refused_nor_warned_of(precision: str) -> None:
    spec = parse(json.dumps(document(epochs=20, execution={"precision": precision})))

    assert check(spec, FACTS, HALF).warnings == ()
