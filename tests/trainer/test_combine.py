"""Combining predictions, against sums by hand and against what a training does with the same members."""

import pytest
import torch
from torch import Tensor

from trainer import ensemble
from trainer.combine import combine, growing


def members(count: int = 4) -> list[Tensor]:
    draws = torch.Generator().manual_seed(count)
    return list((3 * torch.randn(count, 50, 3, generator=draws, dtype=torch.double)).log_softmax(2))


def equal(found: list[Tensor]) -> list[tuple[Tensor, float]]:
    return [(member, 1.0) for member in found]


def test_the_mean_is_of_probabilities_in_the_shares_of_the_weights() -> None:
    found = members(2)

    predicted = combine("mean", [(found[0], 3.0), (found[1], 1.0)])

    expected = 0.75 * found[0].exp() + 0.25 * found[1].exp()
    torch.testing.assert_close(predicted.log_probabilities, expected.log())
    assert predicted.classes.tolist() == expected.argmax(1).tolist()


def test_the_geometric_mean_is_of_powers_normalised() -> None:
    found = members(2)

    predicted = combine("geometric_mean", [(found[0], 3.0), (found[1], 1.0)])

    powers = found[0].exp() ** 0.75 * found[1].exp() ** 0.25
    torch.testing.assert_close(predicted.log_probabilities, (powers / powers.sum(1, keepdim=True)).log())


def test_votes_count_as_their_weights_and_ties_go_to_the_larger_sum_of_probabilities() -> None:
    rows = [[0.9, 0.05, 0.05], [0.1, 0.5, 0.4], [0.2, 0.3, 0.5]]
    votes = [torch.tensor([row], dtype=torch.double).log() for row in rows]

    assert combine("majority_vote", equal(votes)).classes.tolist() == [0]
    assert combine("majority_vote", [(votes[0], 1.0), (votes[1], 1.0), (votes[2], 1.5)]).classes.tolist() == [2]
    assert combine("majority_vote", equal(votes)).log_probabilities is None


@pytest.mark.parametrize("how", ["mean", "geometric_mean", "majority_vote"])
def test_equal_weights_are_what_a_training_scores(how: str) -> None:
    found = members()
    theirs = {
        "mean": ensemble.average(found, [0.25] * 4),
        "geometric_mean": ensemble.geometric_mean(found),
        "majority_vote": ensemble.majority_vote(found),
    }[how]

    predicted = combine(how, equal(found))  # type: ignore[arg-type]

    if how == "majority_vote":
        assert predicted.classes.tolist() == theirs.tolist()
    else:
        torch.testing.assert_close(predicted.log_probabilities, theirs)


def test_growing_is_what_the_first_few_predict_together() -> None:
    found = members()

    sizes = list(growing("mean", equal(found)))

    for size, predicted in enumerate(sizes, 1):
        mean = torch.stack(found[:size]).exp().mean(0)
        torch.testing.assert_close(predicted.log_probabilities, mean.log())


def test_what_all_members_find_all_but_impossible_stays_finite() -> None:
    sure = torch.tensor([[0.0, -2000.0]], dtype=torch.double)

    predicted = combine("mean", equal([sure, sure]))

    assert predicted.log_probabilities is not None
    assert predicted.log_probabilities[0, 1].item() == pytest.approx(-2000.0)
