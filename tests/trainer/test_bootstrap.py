"""Bootstrap intervals: of known values, and the same for the same seed."""

from math import sqrt

import pytest
import torch

from trainer.bootstrap import interval


def test_an_interval_is_as_wide_as_the_standard_error_says() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(2), dtype=torch.double)

    found = interval(values, draws=2000, confidence=0.95, seed=0)

    half = 1.96 * float(values.std(correction=0)) / sqrt(400)
    assert found.estimate == pytest.approx(float(values.mean()), rel=1e-14)
    assert found.low == pytest.approx(found.estimate - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.estimate + half, abs=0.1 * half)


def test_the_ends_are_percentiles_of_means_over_drawn_images() -> None:
    values = torch.tensor([0.0, 1.0], dtype=torch.double)

    found = interval(values, draws=500, confidence=0.9, seed=1)

    # Both images are the same one in half of all draws.
    assert (found.low, found.estimate, found.high) == (0.0, 0.5, 1.0)


def test_a_seed_decides_the_draws() -> None:
    values = torch.linspace(0, 1, 30, dtype=torch.double)

    first, again, other = (interval(values, draws=100, confidence=0.9, seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert first != other
