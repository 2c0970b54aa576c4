"""How well predictions fit: pure functions of log-probabilities (N, K) or classes (N,), float64, and labels (N,)."""

import torch
from torch import Tensor

from trainer.report import Bin, Calibration, ClassReport, TopK

BINS = 15
"""Of a reliability diagram (Guo 2017)."""
TOPS = (1, 2, 3, 5)


def log_likelihoods(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of each image's own class: (N,)."""
    return log_probabilities.gather(1, labels[:, None])[:, 0]


def brier(log_probabilities: Tensor, labels: Tensor) -> float:
    """Mean over images of `sum_k (p_k - y_k)^2`, from 0 to 2 (Brier 1950)."""
    truth = torch.zeros_like(log_probabilities).scatter_(1, labels[:, None], 1.0)
    return float((log_probabilities.exp() - truth).square().sum(1).mean())


def top_k(log_probabilities: Tensor, labels: Tensor) -> tuple[TopK, ...]:
    """How often the right class is among the k likeliest, for each k in `TOPS` below the number of classes.

    Of classes as likely as each other, the first comes first.
    """
    ranked = log_probabilities.argsort(dim=1, descending=True, stable=True)
    place = (ranked == labels[:, None]).long().argmax(1)
    return tuple(
        TopK(k=k, accuracy=int((place < k).sum()) / len(labels)) for k in TOPS if k < log_probabilities.shape[1]
    )


def calibration(log_probabilities: Tensor, labels: Tensor, bins: int = BINS) -> Calibration:
    """The reliability diagram with `bins` of equal width, and the expected calibration error (Guo 2017)."""
    log_confidence, classes = log_probabilities.max(1)
    confidence = log_confidence.exp().clamp(max=1.0)
    correct = (classes == labels).double()
    # (lower, upper]: a probability of exactly upper is in the bin that ends there.
    bin_of = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
    counts = torch.bincount(bin_of, minlength=bins)
    sums = [torch.zeros(bins, dtype=torch.double).index_add_(0, bin_of, values) for values in (confidence, correct)]
    found = tuple(
        Bin(
            lower=index / bins,
            upper=(index + 1) / bins,
            count=count,
            confidence=sure / count if count else None,
            accuracy=right / count if count else None,
        )
        for index, (count, sure, right) in enumerate(
            zip(counts.tolist(), sums[0].tolist(), sums[1].tolist(), strict=True)
        )
    )
    return Calibration(expected_calibration_error=float((sums[0] - sums[1]).abs().sum()) / len(labels), bins=found)


def confusion(classes: Tensor, labels: Tensor, count: int) -> Tensor:
    """Images (count, count) int64 of each true class, the row, by the class that is predicted, the column."""
    return torch.bincount(labels * count + classes, minlength=count * count).view(count, count)


def of_classes(confusion: Tensor, names: tuple[str, ...]) -> tuple[ClassReport, ...]:
    """Precision, recall and F1 of each class; None where there is nothing to divide by."""
    hits, predicted, true = confusion.diag().tolist(), confusion.sum(0).tolist(), confusion.sum(1).tolist()
    return tuple(
        ClassReport(
            name=name,
            count=true[index],
            precision=_share(hits[index], predicted[index]),
            recall=_share(hits[index], true[index]),
            f1=_share(2 * hits[index], predicted[index] + true[index]),
        )
        for index, name in enumerate(names)
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
