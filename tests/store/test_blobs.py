"""Files by their hash."""

import tracemalloc
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, func, select, update

from app.store import blobs
from app.store.blobs import CHUNK_BYTES
from app.store.checkpoints import CheckpointRef
from app.store.engine import read, write
from app.store.errors import BlobDamaged
from app.store.models import Blob, BlobChunk
from tests.shop import Shop


def stored(engine: Engine, folder: Path, content: bytes) -> str:
    path = folder / "content"
    path.write_bytes(content)
    return blobs.put(engine, path)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7])
def test_content_comes_back_under_its_hash(engine: Engine, tmp_path: Path, size: int) -> None:
    content = bytes(index % 251 for index in range(size))

    hash = stored(engine, tmp_path, content)

    assert hash == sha256(content).hexdigest()
    assert b"".join(blobs.stream(engine, hash)) == content
    with read(engine) as session:
        assert blobs.size(session, hash) == size
    blobs.fetch(engine, hash, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(start=st.integers(0, 2 * CHUNK_BYTES + 9), length=st.integers(0, 2 * CHUNK_BYTES + 9))
def test_any_part_can_be_read(engine: Engine, tmp_path: Path, start: int, length: int) -> None:
    content = (b"0123456789abcdef" * (CHUNK_BYTES // 8 + 1))[: 2 * CHUNK_BYTES + 9]
    hash = stored(engine, tmp_path, content)

    part = b"".join(blobs.stream(engine, hash, start, start + length))

    assert part == content[start : start + length]


def test_the_same_content_is_stored_once(engine: Engine, tmp_path: Path) -> None:
    stored(engine, tmp_path, b"same")
    stored(engine, tmp_path, b"same")

    with read(engine) as session:
        assert session.scalar(select(func.count()).select_from(BlobChunk)) == 1


def test_a_large_file_passes_in_constant_memory(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(40 * CHUNK_BYTES)
    blobs.put(engine, path)

    tracemalloc.start()
    hash = blobs.put(engine, path)
    for chunk in blobs.stream(engine, hash):
        assert len(chunk) == CHUNK_BYTES
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 12 * CHUNK_BYTES


def test_an_unfinished_blob_is_not_there_and_can_be_stored_again(engine: Engine, tmp_path: Path) -> None:
    hash = stored(engine, tmp_path, b"x" * 10)
    with write(engine) as session:
        session.execute(update(Blob).values(stored_at=None))

    with pytest.raises(BlobDamaged, match="not stored"):
        list(blobs.stream(engine, hash))

    assert b"".join(blobs.stream(engine, stored(engine, tmp_path, b"x" * 10))) == b"x" * 10


def test_a_missing_chunk_is_noticed_and_leaves_no_file(engine: Engine, tmp_path: Path) -> None:
    hash = stored(engine, tmp_path, bytes(2 * CHUNK_BYTES))
    with write(engine) as session:
        session.execute(delete(BlobChunk).where(BlobChunk.position == 1))

    with pytest.raises(BlobDamaged, match="Chunk 1"):
        blobs.fetch(engine, hash, tmp_path / "copy")
    assert list(tmp_path.glob("copy*")) == []


def test_changed_bytes_are_noticed_and_leave_no_file(engine: Engine, tmp_path: Path) -> None:
    hash = stored(engine, tmp_path, b"good")
    with write(engine) as session:
        session.execute(update(BlobChunk).values(data=b"evil"))

    with pytest.raises(BlobDamaged, match="does not have its hash"):
        blobs.fetch(engine, hash, tmp_path / "copy")
    assert list(tmp_path.glob("copy*")) == []


def test_only_old_blobs_that_nothing_refers_to_are_collected(shop: Shop, tmp_path: Path) -> None:
    used, unused = stored(shop.engine, tmp_path, b"used"), stored(shop.engine, tmp_path, b"unused")
    claim = shop.claimed()
    shop.record(claim, checkpoints=[CheckpointRef(10, 1, used)])

    assert shop.act(blobs.unowned, -1) == (1, 6)
    assert shop.act(blobs.collect, 60) == (0, 0)
    assert shop.act(blobs.collect, -1) == (1, 6)

    with read(shop.engine) as session:
        assert session.scalars(select(Blob.sha256)).all() == [used]
        assert session.get(Blob, unused) is None
