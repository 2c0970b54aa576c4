"""Downloads, from servers on loopback: mirrors, sums, and going on where it stopped."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.trainer.datasets.files import as_tar
from tests.trainer.datasets.test_cifar import pickled, python_10
from tests.trainer.datasets.test_mnist import quartet
from trainer.datasets import downloads
from trainer.datasets.__main__ import main
from trainer.datasets.budget import Progress
from trainer.datasets.downloads import KNOWN, Known, RemoteFile, fetch
from trainer.datasets.importer import import_known
from trainer.datasets.pack import read_manifest
from trainer.errors import DataInvalid

CONTENT = bytes(range(256)) * 4000
REFUSED = "http://127.0.0.1:9/"


@dataclass
class Mirror:
    """What a server has, how it behaves and what it was asked."""

    files: dict[str, bytes]
    ranges: bool = True
    stops_after: int | None = None
    status: int | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


@contextmanager
def served(mirror: Mirror) -> Iterator[Mirror]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            mirror.asked.append((self.path, wanted))
            content = mirror.files.get(self.path.lstrip("/"))
            if content is None or mirror.status:
                self.send_error(mirror.status or 404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and mirror.ranges else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = len(content) if mirror.stops_after is None else start + mirror.stops_after
            self.wfile.write(content[start:end])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    mirror.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield mirror
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def known(*mirrors: str, **files: bytes) -> Known:
    listed = tuple(RemoteFile(name, len(content), sha256(content).hexdigest()) for name, content in files.items())
    return Known(listed, mirrors)


def test_a_file_is_fetched_and_its_progress_told(tmp_path: Path) -> None:
    told: list[Progress] = []
    with served(Mirror({"a": CONTENT, "b": b"more"})) as mirror:
        path = fetch(known(mirror.url, a=CONTENT, b=b"more"), tmp_path, report=told.append)

    assert path == tmp_path
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert told[-1] == Progress("downloading", len(CONTENT) + 4, len(CONTENT) + 4)
    assert [progress.done for progress in told] == sorted(progress.done for progress in told)


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    with served(Mirror({"a": CONTENT})) as mirror:
        fetch(known(mirror.url, a=CONTENT), tmp_path)
        fetch(known(mirror.url, a=CONTENT), tmp_path)

        assert len(mirror.asked) == 1


def test_a_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(CONTENT[:1000])
    with served(Mirror({"a": CONTENT})) as mirror:
        path = fetch(known(mirror.url, a=CONTENT), tmp_path)

        assert mirror.asked == [("/a", "bytes=1000-")]
    assert path.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(b"x" * 1000)
    with served(Mirror({"a": CONTENT}, ranges=False)) as mirror:
        assert fetch(known(mirror.url, a=CONTENT), tmp_path).read_bytes() == CONTENT


def test_a_connection_that_breaks_is_taken_up_by_the_next_mirror(tmp_path: Path) -> None:
    with served(Mirror({"a": CONTENT}, stops_after=5000)) as first, served(Mirror({"a": CONTENT})) as second:
        path = fetch(known(first.url, second.url, a=CONTENT), tmp_path)

        assert second.asked == [("/a", "bytes=5000-")]
    assert path.read_bytes() == CONTENT


def test_one_mirror_is_asked_again_where_its_connection_broke(tmp_path: Path) -> None:
    with served(Mirror({"a": CONTENT}, stops_after=600_000)) as mirror:
        assert fetch(known(mirror.url, a=CONTENT), tmp_path).read_bytes() == CONTENT


def test_mirrors_that_are_away_are_passed_over(tmp_path: Path) -> None:
    with served(Mirror({}, status=503)) as ill, served(Mirror({})) as empty, served(Mirror({"a": CONTENT})) as well:
        path = fetch(known(ill.url, REFUSED, empty.url, well.url, a=CONTENT), tmp_path)

    assert path.read_bytes() == CONTENT


def test_mirrors_that_are_asked_for_come_first(tmp_path: Path) -> None:
    with served(Mirror({"a": CONTENT})) as mine, served(Mirror({"a": CONTENT})) as theirs:
        fetch(known(theirs.url, a=CONTENT), tmp_path, mirrors=[mine.url])

        assert (len(mine.asked), len(theirs.asked)) == (1, 0)


def test_what_is_not_the_original_is_thrown_away_and_asked_for_elsewhere(tmp_path: Path) -> None:
    wrong = CONTENT[:-1] + b"x"
    with served(Mirror({"a": wrong})) as first, served(Mirror({"a": CONTENT})) as second:
        path = fetch(known(first.url, second.url, a=CONTENT), tmp_path)

    assert path.read_bytes() == CONTENT


def test_a_wrong_beginning_does_not_spoil_a_right_mirror(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(b"x" * 1000)
    with served(Mirror({"a": CONTENT})) as mirror:
        assert fetch(known(mirror.url, a=CONTENT), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT + b"x" * 10_000_000, b"x" * len(CONTENT), b""])
def test_what_no_mirror_has_right_is_refused_with_what_each_said(tmp_path: Path, content: bytes) -> None:
    with served(Mirror({"a": content})) as mirror, pytest.raises(DataInvalid, match="a cannot be had") as caught:
        fetch(known(REFUSED, mirror.url, a=CONTENT), tmp_path)

    assert REFUSED in str(caught.value)
    assert mirror.url in str(caught.value)
    assert not (tmp_path / "a").exists()
    assert sum(item.stat().st_size for item in tmp_path.iterdir()) <= len(CONTENT) + 1


def test_a_mirror_that_says_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, served(Mirror({"a": CONTENT})) as mirror:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert fetch(known(url, mirror.url, a=CONTENT), tmp_path).read_bytes() == CONTENT


def test_names_that_everybody_knows_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = quartet(".gz")
    names = ("shirt", "shoe")
    with served(Mirror(files)) as mirror:
        listed = tuple(RemoteFile(name, len(content), sha256(content).hexdigest()) for name, content in files.items())
        monkeypatch.setitem(KNOWN, "fashion-mnist", Known(listed, (mirror.url,), names))
        manifest = import_known("fashion-mnist", tmp_path / "pack", tmp_path / "downloads")

    assert manifest.name == "fashion-mnist"
    assert manifest.classes == names


def test_cifar_comes_as_one_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = as_tar(tmp_path / "cifar.tar.gz", pickled(python_10()), "w:gz").read_bytes()
    with served(Mirror({"cifar.tar.gz": content})) as mirror:
        remote = RemoteFile("cifar.tar.gz", len(content), sha256(content).hexdigest())
        monkeypatch.setitem(KNOWN, "cifar10", Known((remote,), (mirror.url,)))
        code = main(
            ["cifar10", "--out", str(tmp_path / "pack"), "--downloads", str(tmp_path / "downloads"), "--name", "mine"]
        )

    manifest = read_manifest(tmp_path / "pack")
    assert code == 0
    assert manifest.name == "mine"
    assert manifest.origin.container == "tar"
    assert manifest.origin.format == "cifar"


def test_the_known_ones_have_mirrors_over_https_and_whole_sums() -> None:
    for each in KNOWN.values():
        assert len(each.mirrors) > 1
        assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in each.mirrors)
        assert all(len(bytes.fromhex(file.sha256)) == 32 and file.size > 1000 for file in each.files)
    assert sorted(KNOWN) == ["cifar10", "cifar100", "fashion-mnist", "mnist"]
