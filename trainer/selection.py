"""Which members make an ensemble, judged by held-out images."""

import itertools
from collections.abc import Iterator, Sequence
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


def greedily(
    members: Sequence[Tensor], labels: Tensor, by: Metric, combine: Literal["mean", "geometric_mean"]
) -> Iterator[tuple[int, float]]:
    """Each time the member, again if need be, with which the ensemble does best, and how well it does (Caruana 2004).

    Of members that do as well the first is taken. It never ends.
    """
    terms = [member.exp() if combine == "mean" else member for member in members]
    total = torch.zeros_like(terms[0])
    for size in itertools.count(1):
        losses = [loss(_combined(total + term, size, combine), labels, by) for term in terms]
        place = losses.index(min(losses))
        total += terms[place]
        yield place, losses[place]


def best_size(steps: Sequence[tuple[int, float]]) -> Selected:
    """The first of `greedily`'s steps, as many as do best together; of sizes that do as well the smallest."""
    path, scores = zip(*steps, strict=True)
    size = scores.index(min(scores)) + 1
    return Selected(path[:size], scores[:size])


def shares(path: Sequence[int], members: int) -> tuple[float, ...]:
    """How much of the ensemble each of the members is, by how often it was taken."""
    return tuple(path.count(place) / len(path) for place in range(members))


def _combined(total: Tensor, size: int, combine: Literal["mean", "geometric_mean"]) -> Tensor:
    """Log-probabilities of the sum of `size` terms."""
    return (total / size).log() if combine == "mean" else (total / size).log_softmax(1)
