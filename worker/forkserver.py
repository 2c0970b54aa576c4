"""Children from a server that has imported torch: some 10 ms to a running child, where a new process needs seconds."""

import multiprocessing.forkserver
import os
import signal
import threading
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection, wait
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from typing import Any

from worker.machine import Machine

CONTEXT = multiprocessing.get_context("forkserver")
# torch.optim imports the compiler when the first optimizer is made, which takes a second: the server has done so.
CONTEXT.set_forkserver_preload(["worker.child", "torch._dynamo"])


class Child:
    """A running child, its end of the pipe, and the means to end it."""

    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._is_over = False
        self.connection = connection

    @property
    def sentinel(self) -> int:
        """Ready, for `multiprocessing.connection.wait`, when it has ended."""
        return self._process.sentinel

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while it runs."""
        # Two threads that ask at once would share the only answer.
        with self._lock:
            return self._process.exitcode

    def kill(self) -> None:
        """End it and whatever it started, at once: what it has reported is stored, the rest is done again."""
        pid = self._process.pid
        if pid is None or self._is_over:
            return
        # A group may outlive its first process. Its number is nobody else's for as long as it does.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        if self.exit_code is None:
            # Before the child has made its own group there is only the process.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def receive(self) -> bytes | None:
        """Its next message, None after the last. What it has started may hold the pipe: its own end is the end."""
        try:
            if self.connection in wait([self.connection, self.sentinel]) or self.connection.poll():
                return self.connection.recv_bytes()
        except (EOFError, OSError):
            pass
        return None

    def wait(self, seconds: float | None = None) -> None:
        """Wait for its end, for so long at most."""
        wait([self.sentinel], seconds)

    def join(self) -> int:
        """Wait for its end, and end what it has started and left: the exit code, negative for a signal."""
        self.wait()
        self.kill()
        # From now on its number may be given to others.
        self._is_over = True
        self.connection.close()
        return self.exit_code or 0


def warm() -> None:
    """Start the server, which imports torch while we do something else."""
    ensure_running()


def start(function: str, *arguments: Any) -> Child:
    """Run a function of `worker.child` in a child, with its end of the pipe and `arguments`."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_call, args=(function, theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return Child(process, ours)


def machine() -> Machine:
    """What this machine trains on, asked in a child; the server is warm afterwards."""
    probe = start("probe")
    found: Machine = probe.connection.recv()
    probe.join()
    return found


def _let_go() -> None:
    """In a child: be no reason for the server to stay.

    It ends when nobody is left who could ask it for a child, and takes all children with it. Each child could ask, too:
    one that is stopped, or hangs in a kernel, would keep itself and the server for as long as the machine runs.
    """
    server: Any = multiprocessing.forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None


def _call(function: str, *arguments: Any) -> None:
    """Find the function in the child, so that this process need not import torch."""
    _let_go()
    getattr(import_module("worker.child"), function)(*arguments)
