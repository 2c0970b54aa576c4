"""Two processes that stand ready to train together: to start them takes longer than most of what they are asked."""

import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from trainer.replicas import meet, meeting_file

SECONDS = 60


class Pair:
    """Runs a module's function in both, with the process's `Replicas` as its first argument."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What each returns; raises what one raises."""
        for connection in self._connections:
            connection.send((function, arguments))
        answers = []
        for connection in self._connections:
            assert connection.poll(SECONDS), "a process of the pair does not answer"
            answers.append(connection.recv())
        for answer, is_error in answers:
            if is_error:
                raise AssertionError(answer)
        return [answer for answer, _ in answers]


@contextmanager
def started(folder: Path) -> Iterator[Pair]:
    """A pair that has met in `folder`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "trainer.train", "torch._dynamo"])
    ours, processes = [], []
    for rank in range(2):
        near, far = context.Pipe()
        processes.append(
            context.Process(target=_serve, args=(far, rank, meeting_file(folder / "meeting")), daemon=True)
        )
        ours.append(near)
    for process in processes:
        process.start()
    try:
        yield Pair(ours)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _serve(connection: Connection, rank: int, where: str) -> None:
    torch.set_num_threads(1)
    with meet(rank, 2, torch.device("cpu"), where) as replicas:
        while True:
            function, arguments = connection.recv()
            try:
                connection.send((function(replicas, *arguments), False))
            except Exception:
                connection.send((traceback.format_exc(), True))
