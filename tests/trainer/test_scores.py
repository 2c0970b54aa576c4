"""Figures of predictions, against their formulas by hand and against plain loops."""

from math import log

import pytest
import torch
from torch import Tensor

from trainer.scores import brier, calibration, confusion, of_classes, top_k

# Three images of three classes; the second is taken for class 0.
PROBABILITIES = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.05, 0.05, 0.9]], dtype=torch.double)
LABELS = torch.tensor([0, 1, 2])


def random_predictions(images: int = 200, classes: int = 7) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(images, classes, generator=draws, dtype=torch.double)
    return logits.log_softmax(1), torch.randint(classes, (images,), generator=draws)


def test_brier_is_the_squared_distance_from_the_truth() -> None:
    by_hand = ((0.3**2 + 0.2**2 + 0.1**2) + (0.5**2 + 0.6**2 + 0.1**2) + (0.05**2 + 0.05**2 + 0.1**2)) / 3

    assert brier(PROBABILITIES.log(), LABELS) == pytest.approx(by_hand, rel=1e-14)


def test_top_k_counts_the_right_class_among_the_likeliest() -> None:
    assert {one.k: one.accuracy for one in top_k(PROBABILITIES.log(), LABELS)} == {1: 2 / 3, 2: 1.0}


def test_of_classes_as_likely_as_each_other_the_first_comes_first() -> None:
    even = torch.full((1, 4), log(1 / 4), dtype=torch.double)

    assert [one.accuracy for one in top_k(even, torch.tensor([1]))] == [0.0, 1.0, 1.0]


def test_calibration_is_the_mean_distance_of_accuracy_from_confidence() -> None:
    found = calibration(PROBABILITIES.log(), LABELS, bins=2)

    # 0.5 belongs to the bin that ends there, and is wrong; 0.7 and 0.9 are right.
    assert [(one.lower, one.upper, one.count) for one in found.bins] == [(0.0, 0.5, 1), (0.5, 1.0, 2)]
    assert found.bins[0].confidence == pytest.approx(0.5, abs=1e-15)
    assert found.bins[0].accuracy == 0.0
    assert found.bins[1].confidence == pytest.approx(0.8, rel=1e-15)
    assert found.bins[1].accuracy == 1.0
    assert found.expected_calibration_error == pytest.approx(0.5 / 3 + 0.2 * 2 / 3, rel=1e-14)


def test_calibration_is_that_of_a_plain_loop_and_empty_bins_say_nothing() -> None:
    predicted, labels = random_predictions()

    found = calibration(predicted, labels)

    bins: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for row, label in zip(predicted.exp().tolist(), labels.tolist(), strict=True):
        sure = max(row)
        place = next(index for index in range(15) if sure <= (index + 1) / 15)
        bins[place].append((sure, row.index(sure) == label))
    error = 0.0
    for one, members in zip(found.bins, bins, strict=True):
        assert one.count == len(members)
        if not members:
            assert (one.confidence, one.accuracy) == (None, None)
            continue
        confidence = sum(sure for sure, _ in members) / len(members)
        accuracy = sum(right for _, right in members) / len(members)
        assert one.confidence == pytest.approx(confidence, rel=1e-12)
        assert one.accuracy == pytest.approx(accuracy, rel=1e-12)
        error += len(members) / len(labels) * abs(confidence - accuracy)
    assert found.expected_calibration_error == pytest.approx(error, rel=1e-12)


def test_the_confusion_matrix_has_true_classes_as_rows() -> None:
    table = confusion(torch.tensor([0, 0, 2]), LABELS, 3)

    assert table.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_precision_recall_and_f1_are_those_of_plain_counts() -> None:
    predicted, labels = random_predictions()
    classes = predicted.argmax(1)

    found = of_classes(confusion(classes, labels, 7), tuple("abcdefg"))

    pairs = list(zip(classes.tolist(), labels.tolist(), strict=True))
    for index, one in enumerate(found):
        hits = sum(pair == (index, index) for pair in pairs)
        seen, true = sum(guess == index for guess, _ in pairs), sum(label == index for _, label in pairs)
        assert (one.name, one.count) == ("abcdefg"[index], true)
        assert one.precision == pytest.approx(hits / seen)
        assert one.recall == pytest.approx(hits / true)
        assert one.f1 == pytest.approx(2 / (seen / hits + true / hits))


def test_a_class_that_is_never_seen_has_no_precision_and_one_that_is_not_there_no_recall() -> None:
    first, second, third = of_classes(confusion(torch.tensor([0, 2]), torch.tensor([0, 1]), 3), ("a", "b", "c"))

    assert (first.precision, first.recall, first.f1) == (1.0, 1.0, 1.0)
    assert (second.precision, second.recall, second.f1) == (None, 0.0, 0.0)
    assert (third.precision, third.recall, third.f1) == (0.0, None, 0.0)
