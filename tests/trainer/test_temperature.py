"""Temperature scaling: the formula, and the number that a search over all of them finds."""

import pytest
import torch
from torch import Tensor

from trainer.temperature import fit, scale


def predictions(sharper: float, images: int = 400) -> tuple[Tensor, Tensor]:
    """Log-probabilities `sharper` times as sure as the labels that are drawn from them deserve."""
    draws = torch.Generator().manual_seed(5)
    logits = torch.randn(images, 5, generator=draws, dtype=torch.double)
    labels = torch.multinomial(logits.softmax(1), 1, generator=draws)[:, 0]
    return (sharper * logits).log_softmax(1), labels


def test_scaling_takes_the_root_and_normalises() -> None:
    found = scale(torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.double).log(), 2.0)

    roots = torch.tensor([0.5, 0.3, 0.2], dtype=torch.double).sqrt()
    assert found.exp()[0].tolist() == pytest.approx((roots / roots.sum()).tolist(), rel=1e-14)


@pytest.mark.parametrize("sharper", [0.4, 1.0, 3.0])
def test_the_fit_is_where_a_search_finds_the_highest_likelihood(sharper: float) -> None:
    predicted, labels = predictions(sharper)

    found = fit(predicted, labels)

    def loss(temperature: float) -> float:
        return float(torch.nn.functional.nll_loss(scale(predicted, temperature), labels))

    assert all(loss(found) <= loss(found * factor) for factor in (0.9, 0.999, 1.001, 1.1))
    assert found == pytest.approx(sharper, rel=0.15)


def test_predictions_that_cannot_be_too_sure_or_unsure_get_the_ends() -> None:
    predicted, labels = predictions(1.0)

    assert fit(predicted, predicted.argmax(1)) == 0.01
    assert fit(predicted, predicted.argmin(1)) == 100.0
    assert labels.shape == (400,)
