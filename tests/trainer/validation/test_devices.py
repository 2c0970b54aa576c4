"""Several devices: that there are so many, and that each has a share."""

import json
from dataclasses import replace

import pytest

from tests.specs import document
from tests.trainer.validation.plans import FACTS, only, plan
from trainer.errors import SpecInvalid
from trainer.offer import Offer
from trainer.parsing import parse
from trainer.plan import check

NORMALIZED = {"kind": "mlp", "hidden": [8], "batch_norm": {}}


def test_more_devices_than_there_are_are_refused() -> None:
    with pytest.raises(SpecInvalid) as caught:
        check(parse(json.dumps(document(devices=3))), FACTS, Offer(2, frozenset({"float32"})))

    (mistake,) = caught.value.mistakes
    assert (mistake.pointer, mistake.code) == ("/devices", "too_many_devices")
    assert mistake.detail == "This asks for 3 devices, and at most 2 can be had here; use fewer."


def test_a_batch_needs_an_image_for_each_device() -> None:
    mistake = only(devices=8, batch_size=4)

    assert (mistake.pointer, mistake.code) == ("/devices", "batch_cannot_be_shared")
    assert mistake.detail == "A batch has 4 images, which 8 devices cannot share; use fewer devices."


def test_so_does_the_last_batch_unless_it_is_dropped() -> None:
    facts = replace(FACTS, train_count=129)

    mistake = only(facts, devices=2)

    assert mistake.detail == (
        "The last batch of an epoch has 1 image, which 2 devices cannot share; use fewer devices, another batch_size "
        "or last_batch: drop."
    )
    plan(facts, devices=2, last_batch="drop")


def test_batch_norm_of_its_own_needs_two_images_on_each_device() -> None:
    alone = {"execution": {"sync_batch_norm": False}}
    mistake = only(devices=4, batch_size=4, network=NORMALIZED, **alone)

    assert (mistake.pointer, mistake.code) == ("/execution/sync_batch_norm", "single_value_batch_norm")
    assert "set sync_batch_norm to true, or use fewer devices" in mistake.detail
    plan(devices=4, batch_size=4, network=NORMALIZED)
    plan(devices=2, batch_size=4, network=NORMALIZED, **alone)


def test_memory_is_that_of_each_device() -> None:
    one, two = plan(), plan(devices=2)

    assert two.memory.activations == one.memory.activations // 2
    assert two.memory.weights == one.memory.weights
