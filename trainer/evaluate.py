"""What a network predicts, and how well that fits.

Predictions are log-probabilities in float64: a confident mistake costs a large but finite number of nats.
"""

import torch
from torch import Tensor, nn

from trainer.events import Scores
from trainer.feed import Feed

BATCH_SIZE = 500


@torch.inference_mode()
def log_probabilities(model: nn.Module, images: Tensor | Feed) -> Tensor:
    """Log of the predicted distributions (N, K) float64 on the CPU, for images (N, C, H, W) uint8, or all of a split.

    The model is left in the mode that it was in.
    """
    pieces = torch.split(images, BATCH_SIZE) if isinstance(images, Tensor) else images.pieces(BATCH_SIZE)
    was_training = model.training
    model.eval()
    try:
        logits = [model(piece).double() for piece in pieces]
    finally:
        model.train(was_training)
    return torch.cat(logits).log_softmax(1).cpu()


def scores(log_probabilities: Tensor, labels: Tensor) -> Scores:
    """Accuracy, error and mean negative log-likelihood in nats, of (N, K) against (N,)."""
    correct = int((log_probabilities.argmax(1) == labels).sum())
    likelihood = log_probabilities.gather(1, labels[:, None]).mean()
    count = len(labels)
    return Scores(correct / count, (count - correct) / count, -float(likelihood))
