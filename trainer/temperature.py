"""Temperature scaling: one number that makes probabilities as sure as they should be (Guo 2017)."""

from torch import Tensor

from trainer.scores import log_likelihoods

COLDEST, HOTTEST = 0.01, 100.0
HALVINGS = 100


def scale(log_probabilities: Tensor, temperature: float) -> Tensor:
    """Log of `p ** (1 / temperature)`, normalised: (N, K) to (N, K)."""
    return (log_probabilities / temperature).log_softmax(1)


def fit(log_probabilities: Tensor, labels: Tensor) -> float:
    """The temperature with the lowest mean negative log-likelihood of (N, K) against (N,), from 0.01 to 100.

    The likelihood is concave in the inverse temperature, and so its slope is halved to zero.
    """
    low, high = 1 / HOTTEST, 1 / COLDEST
    if _slope(log_probabilities, labels, high) > 0:
        return COLDEST
    if _slope(log_probabilities, labels, low) < 0:
        return HOTTEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _slope(log_probabilities, labels, middle) > 0:
            low = middle
        else:
            high = middle
    return 2 / (low + high)


def _slope(log_probabilities: Tensor, labels: Tensor, inverse: float) -> float:
    """Of the mean log-likelihood, by the inverse temperature."""
    expected = ((log_probabilities * inverse).softmax(1) * log_probabilities).sum(1)
    return float((log_likelihoods(log_probabilities, labels) - expected).mean())
