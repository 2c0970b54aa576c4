"""Processes that train one model together, each on a device of its own (data parallelism, Goyal 2017).

All run the same program on replicas of the same state, and so nearly everything is done by each for itself. What they
share is the work on a batch, part by part, and what the clock of the first says.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, distributed

from trainer.errors import PeerLost

T = TypeVar("T")

PATIENCE = timedelta(minutes=30)
"""With a peer that is silent: a store that is away may hold up the first for long. A dead peer is seen at once."""


class Replicas:
    """The processes from the point of view of the one that has `rank`, counted from 0, of `count`.

    Every method that exchanges something must be called by all, in the same order, with values of the same shapes.
    Raises `PeerLost` when another process is gone.
    """

    def __init__(self, rank: int, count: int) -> None:
        self.rank = rank
        self.count = count

    def part(self, whole: int) -> slice:
        """Which of `whole` images are this one's. Parts are as equal as can be."""
        return slice(self.rank * whole // self.count, (self.rank + 1) * whole // self.count)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each float32 tensor by the sum of all replicas' of it.

        All travel as one, always in the same layout: the order of each sum, and so its bits, depends on nothing but
        the shapes and the number of replicas. torch's DistributedDataParallel lays its buckets out anew after the first
        step, and so a training that goes on from a checkpoint would add in another order.
        """
        if self.count == 1:
            return
        flat = total(torch.cat([tensor.reshape(-1) for tensor in tensors]))
        sums = torch.split(flat, [tensor.numel() for tensor in tensors])
        views = [part.view(tensor.shape) for part, tensor in zip(sums, tensors, strict=True)]
        torch._foreach_copy_(list(tensors), views)

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by the first replica's."""
        if self.count == 1:
            return
        with _peers():
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    def same(self, value: T) -> T:
        """The first replica's value, anything that can be pickled."""
        if self.count == 1:
            return value
        values = [value]
        with _peers():
            distributed.broadcast_object_list(values, 0, device=torch.device("cpu"))
        return values[0]

    def agree(self, number: int) -> int:
        """The first replica's small number; it is at hand without a wait for the device."""
        if self.count == 1:
            return number
        word = torch.tensor([number], dtype=torch.uint8)
        self.share([word])
        return int(word)


ALONE = Replicas(0, 1)


@contextmanager
def meet(rank: int, count: int, device: torch.device, where: str) -> Iterator[Replicas]:
    """Meet the other processes at `where`, an URL for `torch.distributed`, and part from them at the end.

    Tensors on the CPU are exchanged by gloo, those on a GPU by NCCL. Raises `PeerLost`.
    """
    if count == 1:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if where.startswith("file:"):
        # All are on this machine, and need not ask the network who they are.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    with _peers():
        distributed.init_process_group(backend, init_method=where, rank=rank, world_size=count, timeout=PATIENCE)
    try:
        yield Replicas(rank, count)
    finally:
        distributed.destroy_process_group()


def meeting_file(path: Path) -> str:
    """Where processes of one machine can meet: by a file that does not exist yet."""
    return path.absolute().as_uri()


def total(tensor: Tensor) -> Tensor:
    """The tensor, replaced by the sum of all replicas' of it. Raises `PeerLost`."""
    with _peers():
        distributed.all_reduce(tensor)
    return tensor


@contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise PeerLost("Another process of this training is gone, or cannot be reached.") from error
