"""Predictions, scores and their average."""

from math import log

import pytest
import torch
from torch import nn

from trainer.ensemble import average
from trainer.evaluate import BATCH_SIZE, log_probabilities, scores


def logs(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def test_scores_are_those_worked_out_by_hand() -> None:
    found = scores(logs((0.5, 0.3, 0.2), (0.1, 0.2, 0.7)), torch.tensor([0, 1]))

    assert found.accuracy == 0.5
    assert found.error == 0.5
    assert found.negative_log_likelihood == pytest.approx(-(log(0.5) + log(0.2)) / 2)


def test_predictions_are_distributions_and_leave_the_mode_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3)).train()
    images = torch.rand(BATCH_SIZE + 3, 1, 2, 2, generator=torch.Generator().manual_seed(1))

    found = log_probabilities(model, images)

    assert found.shape == (BATCH_SIZE + 3, 3)
    assert torch.allclose(found.exp().sum(1), torch.ones(BATCH_SIZE + 3, dtype=torch.float64))
    assert model.training
    assert float(model[2].running_mean.abs().max()) == 0


def test_a_confident_mistake_costs_finitely_many_nats() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[5000.0], [-5000.0]]))

    found = scores(log_probabilities(model, torch.ones(1, 1, 1, 1)), torch.tensor([1]))

    assert found.negative_log_likelihood == pytest.approx(10_000)


def test_an_ensemble_averages_distributions() -> None:
    members = [logs((0.9, 0.1)), logs((0.4, 0.6)), logs((0.2, 0.8))]

    combined = average(members, [0.5, 0.25, 0.25]).exp()

    assert combined[0].tolist() == pytest.approx([0.5 * 0.9 + 0.25 * 0.4 + 0.25 * 0.2, 0.5 * 0.1 + 0.25 * 0.6 + 0.2])


def test_averaging_differs_from_a_majority_vote() -> None:
    members = [logs((0.9, 0.1)), logs((0.4, 0.6)), logs((0.4, 0.6))]

    votes = torch.stack([member.argmax(1) for member in members]).mode(0).values

    assert votes.item() == 1
    assert average(members, [1 / 3] * 3).argmax(1).item() == 0
