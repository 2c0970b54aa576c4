"""Where to train, and with which guarantees."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from trainer.errors import DeviceUnavailable
from trainer.memory import Memory
from trainer.offer import Offer
from trainer.spec import Execution

BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16", "sve_bf16")
"""Of x86 and ARM processors. Without them oneDNN goes through float32."""

FIRST_WITH_TENSOR_CORES = (7, 0)

CONTROL_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
SPARE, HOST_SHARE = 4, 4
"""The share of a GPU's free memory that libraries and evaluation are left, and of the host's that images may take: one
in so many."""


def choose(wanted: str, index: int = 0) -> torch.device:
    """The device, counted from 0, for a spec's `device`: `auto`, `cpu` or `cuda`. Raises `DeviceUnavailable`."""
    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise DeviceUnavailable("The spec asks for a CUDA device, and torch finds none here.")
    return torch.device("cuda", index) if has_gpu and wanted != "cpu" else torch.device("cpu")


def offer(wanted: str) -> Offer:
    """What this machine has for a spec's `device`: GPUs, or as many CPUs as cores that this process may use.

    Raises `DeviceUnavailable`.
    """
    chosen = choose(wanted)
    count = torch.cuda.device_count() if chosen.type == "cuda" else cores()
    return Offer(count, precisions(chosen))


def cores() -> int:
    """CPU cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def room(device: torch.device, training: Memory, processes: int) -> int:
    """Bytes of images that may lie on a device beside a training, which has so many processes.

    A GPU has what neither the training nor others use, less a spare part. Of the host's memory it is a small share, for
    all processes together: images that are not copied there are read from where they are, at nearly the same speed.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return max(0, free - free // SPARE - training.total)
    return host_bytes() // HOST_SHARE // processes


def host_bytes() -> int:
    """The host's memory, or what the control group leaves of it (Linux, cgroup v2)."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(physical, int(CONTROL_GROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        # There is none, or it is "max".
        return physical


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


def precisions(device: torch.device) -> frozenset[str]:
    """What a spec's `execution.precision` may say on this device."""
    half: tuple[Literal["bfloat16", "float16"], ...] = ("bfloat16", "float16")
    return frozenset({"float32", *(precision for precision in half if computes_in(device, precision))})


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
