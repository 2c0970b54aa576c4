"""How a training step is computed: in which precision, in which layout of memory, compiled or not.

Weights are float32 throughout. In half precision torch.autocast computes convolutions and matrix products in it, from
weights rounded for the step; float16 needs its loss scaled, too, lest small gradients vanish (Micikevicius 2018).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer import dropout
from trainer.device import computes_in
from trainer.errors import ExecutionUnavailable
from trainer.optimizer import Updates
from trainer.spec import Execution
from trainer.synchronized import SynchronizedBatchNorm

MemoryFormat = Literal["channels_last", "contiguous"]

FORMATS: dict[MemoryFormat, torch.memory_format] = {
    "channels_last": torch.channels_last,
    "contiguous": torch.contiguous_format,
}
HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}

TIMED_STEPS = 4
"""In each layout; the first is not counted."""


class Executor:
    """Steps of `model`, which is on its device. Raises `ExecutionUnavailable` for what cannot be had there.

    `model` itself stays as it is, for whoever looks inside or evaluates it: eager, in float32.
    """

    def __init__(self, model: nn.Module, execution: Execution, device: torch.device, batch_size: int) -> None:
        require(execution, device)
        self._model = model
        self._device = device
        self._half = HALF.get(execution.precision)
        self._scaler = torch.amp.GradScaler(device.type) if execution.precision == "float16" else None
        self._compiles = execution.compile
        self._batch_size = batch_size
        self._forward = _compiled(model, deterministic=execution.deterministic) if execution.compile else model

    def logits(self, images: Tensor) -> Tensor:
        """What the model puts out for a batch, (N, K) float32."""
        # A shape more would have to be compiled once more.
        if len(images) != self._batch_size:
            return self.eager(images)
        with self._autocast(), self._explained():
            logits: Tensor = self._forward(images)
        return logits.float()

    def eager(self, images: Tensor) -> Tensor:
        """The same, not compiled."""
        with self._autocast():
            logits: Tensor = self._model(images)
        return logits.float()

    def backward(self, loss: Tensor) -> None:
        """The gradients of the loss, times the scale where there is one."""
        scaled = loss if self._scaler is None else self._scaler.scale(loss)
        with self._explained():
            scaled.backward()  # type: ignore[no-untyped-call]

    def update(self, updates: Updates, rate: float) -> None:
        """One update by the gradients at hand, or, with a scale, none if they overflowed.

        The scaler is given the whole update as its optimizer, so that a skipped step neither decays nor cuts
        weights. It reads from the device whether gradients overflowed; torch's way around that skips the optimizer
        alone, and leaves the velocity of a skipped first step unwritten.
        """
        if self._scaler is None:
            updates.step(rate)
            return
        self._scaler.step(updates, rate)  # type: ignore[arg-type]
        self._scaler.update()

    def state(self) -> dict[str, float]:
        """All that the next step depends on beside the model and its updates."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave. Raises `KeyError` or `RuntimeError` where it is of another precision."""
        if self._scaler is not None:
            self._scaler.load_state_dict(dict(state))

    def _autocast(self) -> AbstractContextManager[object]:
        return nullcontext() if self._half is None else torch.autocast(self._device.type, self._half)

    def _explained(self) -> AbstractContextManager[None]:
        return _compiler_errors() if self._compiles else nullcontext()


def require(execution: Execution, device: torch.device) -> None:
    """Raises `ExecutionUnavailable` unless the device has the precision and the machine can compile."""
    precision = execution.precision
    if precision != "float32" and not computes_in(device, precision):
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "this CPU"
        raise ExecutionUnavailable(
            f"execution.precision is {precision}, and {name} has no fast arithmetic in it.",
            f"Set execution.precision to {_instead(precision, device)}, or train on a device that has {precision}.",
        )
    if execution.compile:
        _require_compilers(device)


def memory_format(
    model: nn.Module, execution: Execution, device: torch.device, images: Tensor, labels: Tensor
) -> MemoryFormat:
    """The layout that `model`, which is on its device, is to train in.

    Where it is found by the clock, steps on a batch (N, C, H, W) with labels (N,) are timed on copies of the model, not
    compiled: the compiler lays convolutions out itself.
    """
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return "contiguous"
    if execution.memory_format != "auto":
        return execution.memory_format
    if execution.deterministic:
        return "channels_last"
    eager = execution.model_copy(update={"compile": False})
    seconds = {kind: _seconds(model, kind, eager, device, images, labels) for kind in FORMATS}
    return min(seconds, key=seconds.__getitem__)


def _seconds(
    model: nn.Module, kind: MemoryFormat, execution: Execution, device: torch.device, images: Tensor, labels: Tensor
) -> float:
    """Of the quickest of a few steps, forward and back."""
    copy = deepcopy(model).to(memory_format=FORMATS[kind]).train()  # type: ignore[call-overload]
    executor = Executor(copy, execution, device, len(images))
    dropout.reseed(copy, device, 0, 0)
    times = []
    for _ in range(TIMED_STEPS):
        began = time.perf_counter()
        executor.backward(functional.cross_entropy(executor.logits(images), labels))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def _instead(precision: Literal["bfloat16", "float16"], device: torch.device) -> str:
    other: Literal["bfloat16", "float16"] = "float16" if precision == "bfloat16" else "bfloat16"
    return f"float32 or {other}" if computes_in(device, other) else "float32"


# The compiler takes seconds to import: only those who want it wait for it.


def _compiled(model: nn.Module, *, deterministic: bool) -> Callable[[Tensor], Tensor]:
    """Shares the weights of `model`; compiled at the first step, for its shape, but for what replicas exchange."""
    for module in model.modules():
        if isinstance(module, SynchronizedBatchNorm):
            module.forward = torch.compiler.disable(module.forward)  # type: ignore[method-assign, no-untyped-call]
    return torch.compile(model, dynamic=False, options={"deterministic": deterministic})


def _require_compilers(device: torch.device) -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler
    from torch.utils._triton import has_triton

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise _no_compiler("execution.compile needs a C++ compiler, and there is none here.", "g++") from None
    if device.type == "cuda" and not has_triton():
        raise _no_compiler("execution.compile needs Triton for a GPU, and it does not work here.", "Triton")


@contextmanager
def _compiler_errors() -> Iterator[None]:
    from torch._dynamo.exc import BackendCompilerFailed

    try:
        yield
    except BackendCompilerFailed as error:
        reason = str(error).strip().splitlines()[0]
        raise _no_compiler(f"The network could not be compiled: {reason}", "what the compiler lacks") from error


def _no_compiler(message: str, missing: str) -> ExecutionUnavailable:
    return ExecutionUnavailable(
        message, f"Install {missing} where the training runs, or set execution.compile to false."
    )
