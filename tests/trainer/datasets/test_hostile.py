"""What is made to harm: each is refused with its name and the reason, in bounded memory, with nothing left behind."""

import gzip
import io
import os
import stat
import struct
import tarfile
import tracemalloc
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.datasets.files import (
    Container,
    as_folder,
    as_tar,
    as_zip,
    codes,
    encoded,
    imported,
    pixels,
    png,
    refusal,
    tree,
)
from trainer.datasets.importer import LIMITS
from trainer.datasets.limits import MIB
from trainer.datasets.options import ImportOptions

SMALL_RATIO = replace(LIMITS, ratio_from_bytes=MIB)


@contextmanager
def memory_below(most: int) -> Iterator[None]:
    """Fails where Python and numpy allocate more."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most


NAMES = {
    "../evil.png": "climbing_path",
    "train/../../evil.png": "climbing_path",
    "/etc/evil.png": "absolute_path",
    "C:/evil.png": "absolute_path",
    "train\\cat\\evil.png": "backslash",
    "train//evil.png": "odd_path",
    "train/cat/evil\x1b[2J.png": "odd_character",
    "train/cat/gnp.\u202eevil": "odd_character",
    "train/cat/evil\u200b.png": "odd_character",
    "train/cat/" + "a" * 2000: "name_too_long",
    "a/" * 40 + "b.png": "too_deep",
    "train/CAT/9.png": "colliding_name",
    "train/cat/0.PNG": "colliding_name",
    "train/cat/0.png/x": "duplicate_name",
}


@pytest.mark.parametrize("make", [as_zip, as_tar])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_climbs_or_deceives_is_refused(tmp_path: Path, name: str, make: Container) -> None:
    error = refusal(make(tmp_path / "mine", tree() | {name: png(1)}))

    assert NAMES[name] in {finding.code for finding in error.findings}
    assert all(unicodedata.category(char) not in ("Cc", "Cf") or char == "\n" for char in str(error))


def test_names_that_differ_by_unicode_form_are_refused(tmp_path: Path) -> None:
    forms = {f"train/cat/{unicodedata.normalize(form, 'é')}.png": png(1) for form in ("NFC", "NFD")}

    assert "duplicate_name" in codes(refusal(as_zip(tmp_path / "mine.zip", tree() | forms))).values()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "mine.zip", tree())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train/cat/0.png", png(1))

    assert codes(refusal(path)) == {"train/cat/0.png": "duplicate_name"}


def test_a_name_with_a_nul_is_not_cut_but_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "mine.zip", tree() | {"train/cat/evilX.png": png(1)})
    path.write_bytes(path.read_bytes().replace(b"evilX", b"evil\0"))

    assert codes(refusal(path)) == {"train/cat/evil\\u0000.png": "odd_character"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, kind: int) -> None:
    path = as_zip(tmp_path / "mine.zip", tree())
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("train/cat/link.png")
        info.external_attr = (kind | 0o644) << 16
        archive.writestr(info, "/etc/passwd")

    assert codes(refusal(path)) == {"train/cat/link.png": "link"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = as_tar(tmp_path / "mine.tar", tree())
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("train/cat/link.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)

    assert codes(refusal(path)) == {"train/cat/link.png": "link"}


def test_links_and_pipes_in_a_folder_are_refused(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "mine", tree())
    (folder / "train" / "cat" / "link.png").symlink_to("/etc/passwd")
    (folder / "train" / "cow").symlink_to(folder / "train" / "cat")
    os.mkfifo(folder / "train" / "dog" / "pipe.png")

    assert codes(refusal(folder)) == dict.fromkeys(("train/cat/link.png", "train/cow", "train/dog/pipe.png"), "link")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "mine.zip", tree() | {"train/cat/bomb.png": bytes(8 * MIB)})

    with memory_below(4 * MIB):
        assert codes(refusal(path, limits=SMALL_RATIO)) == {"mine.zip": "bomb"}


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_tar_bomb_is_refused_while_it_is_unpacked(tmp_path: Path, mode: str) -> None:
    path = as_tar(tmp_path / "mine.tar", {"train/cat/bomb.png": bytes(64 * MIB)}, mode)

    with memory_below(32 * MIB):
        assert codes(refusal(path, limits=SMALL_RATIO)) == {"mine.tar": "bomb"}


def test_an_archive_within_an_archive_is_not_unpacked(tmp_path: Path) -> None:
    inner = as_zip(tmp_path / "inner.zip", tree()).read_bytes()

    error = refusal(as_zip(tmp_path / "mine.zip", tree() | {"train/cat/inner.zip": inner}))

    assert codes(error) == {"train/cat/inner.zip": "nested_archive"}


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "mine.zip", tree())
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        first, second = archive.infolist()[:2]
    at = data.index(second.filename.encode(), archive.start_dir) - 46
    data[at + 42 : at + 46] = struct.pack("<I", first.header_offset)
    path.write_bytes(data)

    assert "overlap" in codes(refusal(path)).values()


def test_a_zip_that_unpacks_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "mine.zip", tree())
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.infolist()[0]
    at = data.index(info.filename.encode(), archive.start_dir) - 46
    data[at + 24 : at + 28] = struct.pack("<I", info.file_size - 10)
    path.write_bytes(data)

    assert codes(refusal(path)) == {info.filename: "damaged"}


def test_a_table_of_contents_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "mine.zip", {f"train/cat/{number}.png": b"" for number in range(2000)})

    with memory_below(MIB):
        error = refusal(path, limits=replace(LIMITS, entries=1000))
    assert codes(error) == {"mine.zip": "too_many_entries"}
    error = refusal(path, limits=replace(LIMITS, directory_bytes=1000))
    assert codes(error) == {"mine.zip": "too_many_entries"}


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "mine.zip", tree())
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)

    assert list(codes(refusal(path)).values()) == ["encrypted"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.97])
def test_a_truncated_tar_is_refused(tmp_path: Path, mode: str, share: float) -> None:
    files = {f"{name}": content * 20 for name, content in tree().items()}
    path = as_tar(tmp_path / "mine.tar", files, mode)
    with tarfile.open(path) as archive:
        end = archive.getmembers()[-1].offset_data + 512 if mode == "w" else path.stat().st_size
    path.write_bytes(path.read_bytes()[: int(end * share)])

    assert "damaged" in codes(refusal(path)).values()


def test_a_tar_that_is_cut_between_entries_is_refused(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "mine.tar", tree())
    with tarfile.open(path) as archive:
        end = archive.getmembers()[-1].offset
    path.write_bytes(path.read_bytes()[:end])

    assert codes(refusal(path)) == {"mine.tar": "damaged"}


def test_a_tar_with_a_damaged_header_is_not_taken_for_a_shorter_one(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "mine.tar", tree())
    with tarfile.open(path) as archive:
        at = archive.getmembers()[-1].offset
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)

    assert codes(refusal(path)) == {"mine.tar": "damaged"}


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_a_truncated_zip_is_refused(tmp_path: Path, share: float) -> None:
    path = as_zip(tmp_path / "mine.zip", tree())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    assert codes(refusal(path)) == {"mine.zip": "damaged"}


def test_a_byte_changed_in_a_zip_is_noticed_and_the_entry_named(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "mine.zip", tree(), zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 10] ^= 1
    path.write_bytes(data)

    assert codes(refusal(path)) == {"train/cat/0.png": "damaged"}


def tar_header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """A header with any size."""
    head = bytearray(512)
    head[: len(name)] = name
    head[100:108], head[108:116], head[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    head[124:136], head[136:148], head[156:157], head[257:265] = size, b"00000000000\0", kind, b"ustar\x0000"
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


@pytest.mark.parametrize(
    "header",
    [
        tar_header(b"x", b"\xff" * 11 + b"\x00"),
        tar_header(b"x", b"77777777777\0"),
        tar_header(b"x", b"77777777777\0", b"x"),
        tar_header(b"x", b"77777777777\0", b"L"),
        tar_header(b"x", b"77777777777\0", b"g"),
        tar_header(b"x", b"\x80" + b"\xff" * 11),
    ],
)
def test_a_tar_header_that_lies_about_its_size_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "mine.tar"
    path.write_bytes(header + bytes(10240))

    with memory_below(8 * MIB):
        refusal(path)


def test_endless_headers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.tar"
    path.write_bytes(tar_header(b"x", b"00000000000\0", b"L") * 5000 + bytes(1024))

    assert codes(refusal(path)) == {"mine.tar": "damaged"}


def huge_png(side: int) -> bytes:
    """A picture of many pixels in few bytes, one bit each."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [12_000, 50_000])
def test_an_image_of_many_pixels_in_few_bytes_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    assert len(huge_png(side)) < 200

    with memory_below(8 * MIB):
        error = refusal(as_zip(tmp_path / "mine.zip", tree() | {"train/cat/huge.png": huge_png(side)}))

    assert codes(error) == {"train/cat/huge.png": "image_too_large"}


def test_a_thin_image_is_cropped_without_a_large_one_on_the_way(tmp_path: Path) -> None:
    thin = encoded(np.zeros((1, 60_000, 3), np.uint8))

    with memory_below(8 * MIB):
        imported(as_zip(tmp_path / "mine.zip", tree() | {"train/cat/thin.png": thin}), ImportOptions(size=(256, 256)))


def test_many_files_of_no_bytes_are_counted_and_not_read(tmp_path: Path) -> None:
    files = {f"train/cat/{number}.png": b"" for number in range(5000)}

    error = refusal(as_tar(tmp_path / "mine.tar.gz", tree() | files, "w:gz"))

    assert (len(error.findings), error.count) == (100, 5000)
    assert {finding.code for finding in error.findings} == {"empty_file"}


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x1f\x8b", b"PK\x03\x04", b"BZh9", b"\xfd7zXZ\0", gzip.compress(b"x", mtime=0)]
)
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.zip"
    path.write_bytes(content)

    assert refusal(path).findings[0].code in ("unknown_format", "damaged")


def test_random_damage_never_breaks_out(tmp_path: Path) -> None:
    """Bytes changed at random in a zip of images of all kinds: refused, or read, but no other error."""
    kinds = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
    image = pixels(1, 20, 20)
    files = {f"{label}/{kind}.{kind.lower()}": encoded(image, kind) for kind in kinds for label in ("cat", "dog")}
    draws = np.random.default_rng(0)
    options = ImportOptions(size=(8, 8), channels=3)
    for trial in range(60):
        damaged = {}
        for name, content in files.items():
            data = bytearray(content)
            for at in draws.integers(0, len(data), 3):
                data[at] = draws.integers(256)
            damaged[name] = bytes(data)
        path = as_zip(tmp_path / f"{trial}.zip", damaged)
        assert refusal(path, options).findings


def test_a_pipe_for_a_source_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mine.zip")

    assert codes(refusal(tmp_path / "mine.zip")) == {"mine.zip": "unknown_format"}


def test_names_of_a_zip_are_not_written_anywhere(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("../../evil.png", png(1))
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "mine.zip"
    path.write_bytes(out.getvalue())

    refusal(path)

    assert [item.name for item in tmp_path.rglob("*")] == ["inner", "mine.zip"]
