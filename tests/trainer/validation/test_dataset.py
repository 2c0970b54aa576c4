"""Sizes that are not the data set's."""

from dataclasses import replace

from tests.trainer.validation.plans import FACTS, only


def test_a_batch_larger_than_the_training_split_is_refused() -> None:
    mistake = only(batch_size=4001)

    assert mistake.pointer == "/batch_size"
    assert mistake.detail.endswith("4000 images; give a smaller batch_size.")


def test_a_default_batch_that_is_too_large_is_said_to_be_the_default() -> None:
    mistake = only(replace(FACTS, train_count=32))

    assert mistake.detail.endswith("32 images; give a smaller batch_size, which is 128 by default.")


def test_a_class_count_that_does_not_fit_the_data_is_refused() -> None:
    mistake = only(network={"kind": "mlp", "classes": 3})

    assert mistake.pointer == "/network/classes"
    assert "mnist5k has 10 classes, not 3" in mistake.detail
