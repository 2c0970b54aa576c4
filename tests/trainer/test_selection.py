"""Choosing members: the best alone, and greedily, against plain loops."""

from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from trainer.selection import Selected, best, best_size, greedily, loss, shares
from trainer.spec.scoring import Metric


def members(count: int = 5, images: int = 60, classes: int = 4) -> tuple[list[Tensor], Tensor]:
    draws = torch.Generator().manual_seed(11)
    labels = torch.randint(classes, (images,), generator=draws)
    hints = 1.5 * torch.nn.functional.one_hot(labels, classes)
    noise = 2 * torch.randn(count, images, classes, generator=draws, dtype=torch.double)
    return list((noise + hints).log_softmax(2)), labels


def greedy(found: list[Tensor], labels: Tensor, count: int, by: Metric, combine: Any) -> Selected:
    return best_size(list(islice(greedily(found, labels, by, combine), count)))


def test_the_best_are_those_with_the_lowest_loss_alone() -> None:
    found, labels = members()

    chosen = best(found, labels, 3, "negative_log_likelihood")

    losses = [float(torch.nn.functional.nll_loss(one, labels)) for one in found]
    assert list(chosen.path) == sorted(range(5), key=lambda place: losses[place])[:3]
    assert chosen.scores == pytest.approx(sorted(losses)[:3], rel=1e-12)


def test_of_equals_the_first_is_taken() -> None:
    found, labels = members(count=1)

    assert best(found * 3, labels, 2, "error").path == (0, 1)
    assert greedy(found * 3, labels, 4, "negative_log_likelihood", "mean").path == (0,)


@pytest.mark.parametrize("by", ["error", "negative_log_likelihood"])
def test_greedy_takes_each_time_what_helps_most_and_keeps_the_best_size(by: Metric) -> None:
    found, labels = members()

    chosen = greedy(found, labels, 8, by, "mean")

    probabilities = [one.exp() for one in found]
    path: list[int] = []
    scores: list[float] = []
    for _ in range(8):
        losses = []
        for place in range(len(found)):
            taken = [*path, place]
            mean = torch.stack([probabilities[one] for one in taken]).mean(0)
            if by == "error":
                losses.append(float((mean.argmax(1) != labels).double().mean()))
            else:
                losses.append(float(torch.nn.functional.nll_loss(mean.log(), labels)))
        path.append(min(range(len(found)), key=lambda place: losses[place]))
        scores.append(min(losses))
    size = scores.index(min(scores)) + 1
    assert chosen.path == tuple(path[:size])
    assert chosen.scores == pytest.approx(scores[:size], rel=1e-12)


def test_greedy_is_never_worse_than_the_best_member_on_what_it_is_judged_by() -> None:
    found, labels = members()

    chosen = greedy(found, labels, 8, "negative_log_likelihood", "geometric_mean")

    assert chosen.scores[-1] <= min(loss(one, labels, "negative_log_likelihood") for one in found)
    assert len(chosen.path) > 1


def test_shares_are_how_often_a_member_was_taken() -> None:
    assert shares((2, 0, 2, 2), 4) == (0.25, 0.0, 0.75, 0.0)
