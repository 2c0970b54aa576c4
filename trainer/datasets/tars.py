"""A tar file as a container, packed by gzip, bzip2 or xz or not at all."""

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from trainer.datasets import names
from trainer.datasets.budget import Budget
from trainer.datasets.container import PIECE, Container, Guarded, Listing, damaged, read_whole
from trainer.datasets.findings import refused
from trainer.datasets.stream import Stream
from trainer.errors import DataRefused, Finding

UNPACKERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
LARGEST_HEADER = 1024**2
DAMAGED = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, OverflowError, RecursionError)


class Tar(Container):
    """The files in a tar. It has no table of contents, so it is read once to list it and once to read the files."""

    kind = "tar"

    def __init__(self, path: Path, budget: Budget) -> None:
        super().__init__(path.name, budget)
        self.path = path
        listing = Listing(budget)
        for info, _ in self._members():
            self._list_one(info, listing)
        listing.finish(self)

    @contextmanager
    def open(self, name: str) -> Iterator[Stream]:
        """An entry's bytes; the archive is unpacked up to there."""
        for info, stream in self._members():
            if self._clean(info) == name:
                yield stream
                return
        raise refused(name, "damaged", "It is gone from the archive; leave the file alone while it is read.")

    def _each(self, wanted: set[str]) -> Iterator[tuple[str, bytes | Finding]]:
        if not wanted:
            return
        for info, stream in self._members():
            if (name := self._clean(info)) in wanted:
                yield name, read_whole(stream, self.entries[name], name)

    def _clean(self, info: tarfile.TarInfo) -> str:
        return names.clean(info.name, self.limits) if info.isreg() else ""

    def _list_one(self, info: tarfile.TarInfo, listing: Listing) -> None:
        if info.isdir():
            listing.folder(info.name)
        elif not info.isreg() or info.issparse() or info.size < 0:
            listing.refuse(info.name, "link", "It is a link, a device or no plain file; pack the file itself.")
        else:
            listing.file(info.name, info.size)

    def _members(self) -> Iterator[tuple[tarfile.TarInfo, Stream]]:
        """Every entry in the order of the archive, with its bytes. Raises `DataRefused` where it is damaged."""
        with self.path.open("rb") as packed:
            stream = _Unpacked(packed, self.path.stat().st_size, self.budget)
            try:
                tar = tarfile.TarFile(fileobj=cast(IO[bytes], stream), encoding="utf-8", errors="surrogateescape")
                while info := tar.next():
                    cast(Any, tar).members.clear()  # Else it keeps them all.
                    content = tar.extractfile(info) if info.isreg() and not info.issparse() else None
                    yield info, Guarded(content or stream, info.name, DAMAGED)
                stream.check_end()
            except DataRefused:
                raise
            except DAMAGED as error:
                raise damaged(self.name, error) from None


class _Unpacked:
    """The bytes of a tar as tarfile reads them: only forward, in small pieces, counted."""

    def __init__(self, packed: IO[bytes], packed_bytes: int, budget: Budget) -> None:
        start = packed.read(6)
        packed.seek(0)
        unpacker = next((unpacker for mark, unpacker in UNPACKERS.items() if start.startswith(mark)), None)
        self._file = unpacker(packed) if unpacker else packed
        self._packed_bytes = packed_bytes
        self._budget = budget
        self._position = 0
        self._last = b""

    def read(self, size: int) -> bytes:
        """The next bytes. Raises `DataRefused` where they are too many."""
        if size > LARGEST_HEADER:
            raise refused(self._budget.source, "damaged", f"A header in it claims {size} bytes; pack it again.")
        self._last = self._file.read(size)
        self._position += len(self._last)
        self._check()
        return self._last

    def tell(self) -> int:
        """Bytes so far."""
        return self._position

    def seekable(self) -> bool:
        """Forward."""
        return True

    def seek(self, position: int) -> int:
        """Read on to a place."""
        if position < self._position:
            raise refused(self._budget.source, "damaged", "A header in it points backwards; pack it again.")
        while self._position < position and self.read(min(PIECE, position - self._position)):
            pass
        return self._position

    def check_end(self) -> None:
        """Refuse an archive that stops without the block of zeros, or goes on after it with something else."""
        if self._last != tarfile.NUL * tarfile.BLOCKSIZE:
            raise refused(self._budget.source, "damaged", "It stops before its end; pack or copy it again.")
        while piece := self.read(PIECE):
            if piece.strip(tarfile.NUL):
                raise refused(self._budget.source, "damaged", "It has more bytes after its end; pack it again.")

    def _check(self) -> None:
        self._budget.check()
        limits = self._budget.limits
        if self._position > limits.unpacked_bytes:
            detail = f"It unpacks to more than {limits.unpacked_bytes} bytes; give less at a time."
            raise refused(self._budget.source, "too_large", detail)
        if self._position > max(limits.ratio_from_bytes, limits.ratio * self._packed_bytes):
            detail = (
                f"It unpacks to more than {limits.ratio} times its own {self._packed_bytes} bytes; give the files "
                "unpacked or packed less."
            )
            raise refused(self._budget.source, "bomb", detail)
