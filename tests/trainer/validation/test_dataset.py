"""Sizes that are not the data set's."""

from tests.trainer.validation.plans import only


def test_a_batch_larger_than_the_training_split_is_refused() -> None:
    mistake = only(batch_size=4001)

    assert mistake.pointer == "/batch_size"
    assert "4000 images" in mistake.detail


def test_a_class_count_that_does_not_fit_the_data_is_refused() -> None:
    mistake = only(network={"kind": "mlp", "classes": 3})

    assert mistake.pointer == "/network/classes"
    assert "mnist5k has 10 classes, not 3" in mistake.detail
