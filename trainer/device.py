"""Where to train, and with which guarantees."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch

from trainer.errors import DeviceUnavailable, Mistake
from trainer.spec import Execution

BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16", "sve_bf16")
"""Of x86 and ARM processors. Without them oneDNN goes through float32."""

FIRST_WITH_TENSOR_CORES = (7, 0)


def choose(wanted: str, index: int = 0) -> torch.device:
    """The device, counted from 0, for a spec's `device`: `auto`, `cpu` or `cuda`. Raises `DeviceUnavailable`."""
    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise DeviceUnavailable("The spec asks for a CUDA device, and torch finds none here.")
    return torch.device("cuda", index) if has_gpu and wanted != "cpu" else torch.device("cpu")


def mistakes(wanted: str, count: int) -> Iterator[Mistake]:
    """Of a spec that asks for `count` devices of a kind that this machine does not have, or not as many.

    Of GPUs it has those that torch finds; of CPUs as many as cores that this process may use.
    """
    gpus = torch.cuda.device_count()
    if wanted == "cuda" and not gpus:
        yield Mistake("/device", "no_such_device", "There is no CUDA device here that torch finds; use device: auto.")
        return
    there, name = (gpus, "GPU") if gpus and wanted != "cpu" else (cores(), "CPU core")
    if count > there:
        yield Mistake(
            "/devices",
            "too_many_devices",
            f"This asks for {count} devices, and there {'is' if there == 1 else 'are'} {there} {name}"
            f"{'' if there == 1 else 's'} here; use fewer, or train where there are more.",
        )


def cores() -> int:
    """CPU cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def computes_in(device: torch.device, precision: Literal["bfloat16", "float16"]) -> bool:
    """Whether the hardware has arithmetic in this precision that is quicker than in float32."""
    if device.type == "cuda":
        if precision == "bfloat16":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        return torch.cuda.get_device_capability(device) >= FIRST_WITH_TENSOR_CORES
    if precision == "float16":
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    instructions = torch.cpu.get_capabilities()
    has_any = any(instructions.get(name) for name in BFLOAT16_INSTRUCTIONS)
    return has_any and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def describe(device: torch.device, execution: Execution, memory_format: str, devices: int) -> dict[str, str]:
    """What the bits of a result depend on beside the data, the network and its updates.

    `memory_format` is the one in use, and `devices` how many train together.
    """
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu {torch.backends.cpu.get_cpu_capability()}"
    )
    return {
        "annealer": version("annealer"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": name,
        "devices": str(devices),
        "threads": str(torch.get_num_threads()),
        "precision": execution.precision,
        "memory_format": memory_format,
        "compile": str(execution.compile).lower(),
        "deterministic": str(execution.deterministic).lower(),
    }


@contextmanager
def algorithms(*, deterministic: bool) -> Iterator[None]:
    """Let torch use only algorithms that give the same bits each time, or any, and cuDNN try out which is quickest.

    What was set before is set again after.
    """
    if deterministic:
        # cuBLAS reads this once, when the first handle is made.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    mode_before = torch.get_deterministic_debug_mode()
    filling: Any = torch.utils.deterministic
    was_filling = filling.fill_uninitialized_memory
    was_benchmarking = torch.backends.cudnn.benchmark
    # As torch.use_deterministic_algorithms does, without its import of the compiler, which takes a second.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    # Filling finds reads of unwritten memory, at the cost of a write of every new tensor.
    filling.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = not deterministic
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode_before)
        filling.fill_uninitialized_memory = was_filling
        torch.backends.cudnn.benchmark = was_benchmarking
