"""What all bytes are read from."""

from typing import Protocol


class Stream(Protocol):
    """Bytes that are read forward."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
