"""Several networks as one: the seeds of independent members, and how predictions are combined."""

from collections.abc import Mapping, Sequence
from math import log

import torch
from torch import Tensor, nn

from trainer.evaluate import log_probabilities, scores
from trainer.events import EnsembleKind, EnsembleMember, EnsembleScored, VoteScores
from trainer.feed import Feed
from trainer.randomness import seed_for
from trainer.spec import LARGEST_EXACT_INTEGER

Weights = Mapping[str, Tensor]


def member_seed(seed: int, number: int) -> int:
    """The seed of an independent member, counted from 1: the first has the spec's own.

    All are seeds that a spec may have, so that a member can be trained again alone.
    """
    return seed if number == 1 else seed_for(seed, "member", number) & LARGEST_EXACT_INTEGER


def average(log_probabilities: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Log of the weighted mean of distributions: M times (N, K) to (N, K). Weights sum to one."""
    weighted = [member + log(weight) for member, weight in zip(log_probabilities, weights, strict=True)]
    return torch.stack(weighted).logsumexp(0)


def geometric_mean(log_probabilities: Sequence[Tensor]) -> Tensor:
    """Log of the geometric mean of distributions, normalised to sum to one: M times (N, K) to (N, K)."""
    return torch.stack(list(log_probabilities)).mean(0).log_softmax(1)


def majority_vote(log_probabilities: Sequence[Tensor]) -> Tensor:
    """The classes (N,) that most of M distributions (N, K) find likeliest; of those with as many votes, the one with
    the largest sum of probabilities.
    """
    members = torch.stack(list(log_probabilities))
    votes = torch.zeros_like(members).scatter_(2, members.argmax(2, keepdim=True), 1.0).sum(0)
    is_behind = votes < votes.amax(1, keepdim=True)
    return members.exp().sum(0).masked_fill(is_behind, -1.0).argmax(1)


def score(
    kind: EnsembleKind, model: nn.Module, members: Sequence[tuple[int, Weights]], images: Tensor | Feed, labels: Tensor
) -> EnsembleScored:
    """Snapshots by number in equal shares, each put into `model`; the last one is the single model beside them."""
    predicted = []
    for _, weights in members:
        model.load_state_dict(weights)
        predicted.append(log_probabilities(model, images))
    share = 1 / len(members)
    alone = [scores(one, labels) for one in predicted]
    votes = float((majority_vote(predicted) == labels).double().mean())
    return EnsembleScored(
        kind=kind,
        members=tuple(EnsembleMember(number, share, one) for (number, _), one in zip(members, alone, strict=True)),
        scores=scores(average(predicted, [share] * len(predicted)), labels),
        single=alone[-1],
        geometric_mean=scores(geometric_mean(predicted), labels),
        majority_vote=VoteScores(votes, 1 - votes),
    )
