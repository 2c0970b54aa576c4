"""Where to train, and with which guarantees."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from trainer.errors import DeviceUnavailable


def choose(wanted: str) -> torch.device:
    """The device for a spec's `device`: `auto`, `cpu` or `cuda`. Raises `DeviceUnavailable`."""
    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise DeviceUnavailable("The spec asks for a CUDA device, and torch finds none here.")
    return torch.device("cuda" if has_gpu and wanted != "cpu" else "cpu")


def describe(device: torch.device) -> dict[str, str]:
    """What the bits of a result depend on beside the spec and the data."""
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
        "threads": str(torch.get_num_threads()),
    }


@contextmanager
def deterministic() -> Iterator[None]:
    """Let torch use only algorithms that give the same bits each time; what was set before is set again after."""
    # cuBLAS reads this once, when the first handle is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    mode_before = torch.get_deterministic_debug_mode()
    filling: Any = torch.utils.deterministic
    was_filling = filling.fill_uninitialized_memory
    was_benchmarking = torch.backends.cudnn.benchmark
    # As torch.use_deterministic_algorithms does, without its import of the compiler, which takes a second.
    torch.set_deterministic_debug_mode("error")
    # Filling finds reads of unwritten memory, at the cost of a write of every new tensor.
    filling.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode_before)
        filling.fill_uninitialized_memory = was_filling
        torch.backends.cudnn.benchmark = was_benchmarking
