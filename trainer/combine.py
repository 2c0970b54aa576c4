"""One prediction out of many: mean of probabilities, geometric mean, or votes, each member with a weight."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf, log
from typing import Literal

import torch
from torch import Tensor

Combination = Literal["mean", "geometric_mean", "majority_vote"]


@dataclass(frozen=True)
class Prediction:
    """Classes (N,) and log-probabilities (N, K) float64, which votes do not have."""

    classes: Tensor
    log_probabilities: Tensor | None


def growing(how: Combination, taken: Iterable[tuple[Tensor, float]]) -> Iterator[Prediction]:
    """What the first member predicts, the first two together, and so on: log-probabilities (N, K), each with a weight.

    Weights need not sum to one. A member may come several times.
    """
    match how:
        case "mean":
            return _means(taken)
        case "geometric_mean":
            return _geometric_means(taken)
        case "majority_vote":
            return _votes(taken)


def combine(how: Combination, taken: Iterable[tuple[Tensor, float]]) -> Prediction:
    """What all of them predict together."""
    *_, last = growing(how, taken)
    return last


def _means(taken: Iterable[tuple[Tensor, float]]) -> Iterator[Prediction]:
    total, weights = torch.tensor(-inf, dtype=torch.double), 0.0
    for member, weight in taken:
        total, weights = torch.logaddexp(total, member + log(weight)), weights + weight
        yield _prediction(total - log(weights))


def _geometric_means(taken: Iterable[tuple[Tensor, float]]) -> Iterator[Prediction]:
    total, weights = torch.tensor(0.0, dtype=torch.double), 0.0
    for member, weight in taken:
        total, weights = total + weight * member, weights + weight
        yield _prediction((total / weights).log_softmax(1))


def _votes(taken: Iterable[tuple[Tensor, float]]) -> Iterator[Prediction]:
    """Of classes with as many votes, the one with the largest sum of probabilities."""
    votes = mass = torch.tensor(0.0, dtype=torch.double)
    for member, weight in taken:
        vote = torch.zeros_like(member).scatter_(1, member.argmax(1, keepdim=True), weight)
        votes, mass = votes + vote, mass + weight * member.exp()
        is_behind = votes < votes.amax(1, keepdim=True)
        yield Prediction(mass.masked_fill(is_behind, -1.0).argmax(1), None)


def _prediction(log_probabilities: Tensor) -> Prediction:
    return Prediction(log_probabilities.argmax(1), log_probabilities)
