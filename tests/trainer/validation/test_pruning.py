"""Rounds that divide the epochs and leave weights."""

from tests.trainer.validation.plans import cycles, only, pruned


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
