"""What a training has reported and the database has not been told yet, in order.

While the database answers it is nearly empty. While it is away the newest reports go to a file, since a training of
hours reports more than memory should hold.
"""

import struct
import threading
from collections import deque
from pathlib import Path

from worker.wire import Message, decode

MOST_IN_MEMORY = 1000
LENGTH = struct.Struct("<I")


class Spool:
    """Messages from one thread to another, bounded in bytes: `put` waits while too much waits already.

    A message counts, with the file in `folder` that it names, until `stored` says that the database has it.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._file = (folder / "spool").open("w+b")
        self._next_in_file = 0
        self._count_in_file = 0
        self._in_memory: deque[bytes] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._has_ended = False
        self._changed = threading.Condition()

    @property
    def is_full(self) -> bool:
        """Whether the training has to wait."""
        return self._bytes >= self._limit

    def put(self, data: bytes) -> None:
        """Add a message as it came over the pipe; wait while the spool is full. Raises `OSError` of a full disk."""
        file = decode(data).file
        size = len(data) + ((self._folder / file).stat().st_size if file else 0)
        with self._changed:
            self._changed.wait_for(lambda: not self.is_full or self._has_ended)
            if self._has_ended:
                return
            if self._count_in_file or len(self._in_memory) >= MOST_IN_MEMORY:
                self._file.seek(0, 2)
                self._file.write(LENGTH.pack(len(data)) + data)
                self._file.flush()
                self._count_in_file += 1
            else:
                self._in_memory.append(data)
            self._sizes.append(size)
            self._bytes += size
            self._changed.notify_all()

    def end(self) -> None:
        """There will be no more."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def take(self, most: int, timeout: float | None = None) -> list[Message] | None:
        """Up to `most` messages, the oldest first: none after `timeout` seconds, None once all has been taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_memory or self._has_ended, timeout)
            taken: list[Message] = []
            while self._in_memory and len(taken) < most:
                taken.append(decode(self._in_memory.popleft()))
                if not self._in_memory and self._count_in_file:
                    self._refill()
            return None if self._has_ended and not taken else taken

    def stored(self, count: int) -> None:
        """The database has the oldest `count` messages: they and their files need no room any more."""
        with self._changed:
            self._bytes -= sum(self._sizes.popleft() for _ in range(count))
            self._changed.notify_all()

    def close(self) -> None:
        """Forget everything."""
        self.end()
        self._file.close()

    def _refill(self) -> None:
        self._file.seek(self._next_in_file)
        for _ in range(min(self._count_in_file, MOST_IN_MEMORY)):
            (length,) = LENGTH.unpack(self._file.read(LENGTH.size))
            self._in_memory.append(self._file.read(length))
            self._count_in_file -= 1
        self._next_in_file = self._file.tell()
        if not self._count_in_file:
            self._file.truncate(0)
            self._next_in_file = 0
