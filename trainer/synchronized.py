"""Batch norm over the whole batch where replicas have a part of it each."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer import replicas


def convert(model: nn.Module, device: torch.device) -> None:
    """Let every batch norm of `model` normalise by the whole batch: on GPUs by torch's own, which is for them only."""
    for parent in list(model.modules()):
        for name, module in parent.named_children():
            if isinstance(module, _BatchNorm):
                setattr(parent, name, _converted(module, device))


def _converted(module: _BatchNorm, device: torch.device) -> nn.Module:
    if device.type == "cuda":
        other: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return other
    kind = SynchronizedBatchNorm(module.num_features, eps=module.eps, momentum=module.momentum)
    kind.load_state_dict(module.state_dict())
    return kind


class SynchronizedBatchNorm(_BatchNorm):
    """As nn.BatchNorm1d and nn.BatchNorm2d, by the mean and variance of all replicas' units (N, C) or (N, C, H, W)."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (2, 4):
            raise ValueError(f"expected units (N, C) or (N, C, H, W), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        normalized, mean, variance, count = _Normalize.apply(input.float(), self.eps)  # type: ignore[no-untyped-call]
        if self.track_running_stats:
            self._follow(mean, variance * (count / (count - 1)))
        shape = (1, -1, *[1] * (input.ndim - 2))
        shifted: Tensor = normalized * self.weight.view(shape) + self.bias.view(shape)
        return shifted

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running averages, as torch does by the unbiased variance."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


class _Normalize(torch.autograd.Function):
    """`(units - mean) / sqrt(variance + epsilon)` for each channel (Ioffe and Szegedy 2015, algorithm 1)."""

    @staticmethod
    def forward(ctx: Any, units: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        over = [dimension for dimension in range(units.ndim) if dimension != 1]
        shape = [1 if dimension in over else -1 for dimension in range(units.ndim)]
        sums = replicas.total(torch.cat([units.sum(over), units.new_tensor([units.numel() // units.shape[1]])]))
        count = sums[-1]
        mean = sums[:-1] / count
        centred = units - mean.view(shape)
        variance = replicas.total(centred.square().sum(over)) / count
        scale = (variance + epsilon).rsqrt()
        normalized = centred.mul_(scale.view(shape))
        ctx.over, ctx.shape = over, shape
        ctx.save_for_backward(normalized, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return normalized, mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor | None) -> tuple[Tensor, None]:
        """By the units: `scale * (g - mean(g) - normalized * mean(g * normalized))`, with means over all replicas."""
        normalized, scale, count = ctx.saved_tensors
        sums = replicas.total(torch.stack([gradient.sum(ctx.over), (gradient * normalized).sum(ctx.over)]))
        means = (sums / count).unbind()
        mean, projection = (part.view(ctx.shape) for part in means)
        return (gradient - mean - normalized * projection) * scale.view(ctx.shape), None
