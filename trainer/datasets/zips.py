"""A zip file as a container."""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from trainer.datasets.budget import Budget
from trainer.datasets.container import Container, Guarded, Listing, damaged
from trainer.datasets.findings import refused
from trainer.datasets.stream import Stream

METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}
ENCRYPTED = 1
LOCAL_HEADER = 30
ENTRY_MARK = b"PK\x01\x02"
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


class Zip(Container):
    """The files in a zip, by its table of contents, which is checked before anything is unpacked."""

    kind = "zip"

    def __init__(self, path: Path, budget: Budget) -> None:
        super().__init__(path.name, budget)
        self._file = path.open("rb")
        self._infos: dict[str, zipfile.ZipInfo] = {}
        try:
            self._zip = zipfile.ZipFile(cast(IO[bytes], _Watched(self._file, budget)))
            self._list(path.stat().st_size)
        except DAMAGED as error:
            self._file.close()
            raise damaged(path.name, error) from None
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    @contextmanager
    def open(self, name: str) -> Iterator[Stream]:
        """An entry's bytes, unpacked as they are read, and checked against their sum at the end."""
        try:
            stream = self._zip.open(self._infos[name])
        except DAMAGED as error:
            raise damaged(name, error) from None
        with stream:
            yield Guarded(stream, name, DAMAGED)

    def _list(self, packed: int) -> None:
        listing = Listing(self.budget)
        infos = self._zip.infolist()
        for info in infos:
            self._list_one(info, listing)
        listing.check_ratio(packed)
        self._check_overlaps(infos, listing)
        listing.finish(self)

    def _list_one(self, info: zipfile.ZipInfo, listing: Listing) -> None:
        raw, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            listing.refuse(raw, "link", "It is a link or no plain file; pack the file itself.")
        elif info.flag_bits & ENCRYPTED:
            listing.refuse(raw, "encrypted", "It is encrypted; pack it without a password.")
        elif info.compress_type not in METHODS:
            listing.refuse(raw, "packing_method", "It is packed by a method that is not read; use deflate.")
        elif info.is_dir():
            listing.folder(raw)
        elif name := listing.file(raw, info.file_size):
            self._infos[name] = info

    def _check_overlaps(self, infos: list[zipfile.ZipInfo], listing: Listing) -> None:
        """Refuse entries that share bytes, as bombs do (Fifield 2019)."""
        end = 0
        for info in sorted(infos, key=lambda info: info.header_offset):
            if info.header_offset < end:
                listing.refuse(
                    info.orig_filename, "overlap", "It shares bytes with another entry; pack the files again."
                )
            end = info.header_offset + LOCAL_HEADER + info.compress_size


class _Watched:
    """The zip file as zipfile reads it, so that its table of contents is refused before it is taken apart."""

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        self._file = file
        self._budget = budget
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """As the file's own."""
        limits, source = self._budget.limits, self._budget.source
        if size > limits.directory_bytes:
            detail = f"Its table of contents has {size} bytes; at most {limits.directory_bytes} are read."
            raise refused(source, "too_many_entries", detail)
        data = self._file.read(size)
        if len(data) > 46 * limits.entries and data.count(ENTRY_MARK) > limits.entries:
            detail = f"It has more than {limits.entries} entries; give fewer at a time."
            raise refused(source, "too_many_entries", detail)
        return data
