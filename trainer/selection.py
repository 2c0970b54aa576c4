"""Which members make an ensemble, judged by held-out images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainer.scores import log_likelihoods
from trainer.spec.scoring import Metric


@dataclass(frozen=True)
class Selected:
    """Places of members in the order in which they were taken, and the scores on the way, the lower the better."""

    path: tuple[int, ...]
    scores: tuple[float, ...]


def loss(log_probabilities: Tensor, labels: Tensor, by: Metric) -> float:
    """Error, or mean negative log-likelihood in nats, of (N, K) against (N,)."""
    if by == "error":
        return int((log_probabilities.argmax(1) != labels).sum()) / len(labels)
    return -float(log_likelihoods(log_probabilities, labels).mean())


def best(members: Sequence[Tensor], labels: Tensor, count: int, by: Metric) -> Selected:
    """The `count` of M log-probabilities (N, K) that do best alone, the first of equals first."""
    losses = [loss(member, labels, by) for member in members]
    path = sorted(range(len(members)), key=losses.__getitem__)[:count]
    return Selected(tuple(path), tuple(losses[place] for place in path))


def greedy(
    members: Sequence[Tensor], labels: Tensor, count: int, by: Metric, combine: Literal["mean", "geometric_mean"]
) -> Selected:
    """Up to `count` times the member, again if need be, with which the ensemble does best (Caruana 2004).

    Of members that do as well the first is taken, and of sizes that do as well the smallest is kept.
    """
    terms = [member.exp() if combine == "mean" else member for member in members]
    total = torch.zeros_like(terms[0])
    path: list[int] = []
    scores: list[float] = []
    for size in range(1, count + 1):
        losses = [loss(_combined(total + term, size, combine), labels, by) for term in terms]
        place = losses.index(min(losses))
        total += terms[place]
        path.append(place)
        scores.append(losses[place])
    kept = scores.index(min(scores)) + 1
    return Selected(tuple(path[:kept]), tuple(scores[:kept]))


def shares(path: Sequence[int], members: int) -> tuple[float, ...]:
    """How much of the ensemble each of the members is, by how often it was taken."""
    return tuple(path.count(place) / len(path) for place in range(members))


def _combined(total: Tensor, size: int, combine: Literal["mean", "geometric_mean"]) -> Tensor:
    """Log-probabilities of the sum of `size` terms."""
    return (total / size).log() if combine == "mean" else (total / size).log_softmax(1)
