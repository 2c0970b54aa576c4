"""Disagreement and Q-statistic, against counts by hand."""

import pytest
import torch

from trainer.diversity import disagreement, mean_of_pairs, q_statistic


def test_disagreement_is_the_share_of_images_seen_as_other_classes() -> None:
    found = disagreement(torch.tensor([[0, 1, 2, 2], [0, 1, 1, 0], [1, 1, 1, 0]]))

    assert found.tolist() == [[0.0, 0.5, 0.75], [0.5, 0.0, 0.25], [0.75, 0.25, 0.0]]
    assert mean_of_pairs(found) == 0.5


def test_q_is_the_formula_of_counts() -> None:
    one = torch.tensor([True] * 6 + [False] * 4)
    other = torch.tensor([True] * 4 + [False] * 2 + [True] * 1 + [False] * 3)
    both, alone, against, neither = 4, 2, 1, 3

    found = q_statistic(torch.stack([one, other]))

    by_hand = (both * neither - alone * against) / (both * neither + alone * against)
    assert found[0, 1].item() == found[1, 0].item() == pytest.approx(by_hand, rel=1e-15)


def test_q_is_one_where_errors_are_the_same_and_minus_one_where_they_never_are() -> None:
    one = torch.tensor([True, True, False, False])

    found = q_statistic(torch.stack([one, one, ~one]))

    assert (found[0, 1].item(), found[0, 2].item()) == (1.0, -1.0)


def test_pairs_without_a_q_are_left_out_of_the_mean() -> None:
    perfect, one, same = torch.tensor([[True, True], [True, False], [True, False]])

    found = q_statistic(torch.stack([perfect, one, same]))

    assert found[0, 1].isnan()
    assert mean_of_pairs(found) == 1.0
    assert mean_of_pairs(found[:1, :1]) is None
