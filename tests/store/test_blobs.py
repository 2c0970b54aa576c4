"""Files by their hash, wherever their contents lie."""

import tracemalloc
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, func, select, update

from app.embedded import free_port
from app.store import blobs, objects
from app.store import engine as engines
from app.store.blobs import CHUNK_BYTES
from app.store.checkpoints import CheckpointRef
from app.store.engine import read, write
from app.store.errors import BlobDamaged, ContentMissing, StorageAway
from app.store.models import Blob, BlobChunk, StrayObject
from tests.shop import Shop


@pytest.fixture(params=["sql", "file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """Where contents go."""
    match request.param:
        case "sql":
            return None
        case "file":
            return f"file://{tmp_path}/a%20folder"
        case _:
            request.getfixturevalue("s3")
            return f"s3://annealer/{tmp_path.name}"


@pytest.fixture
def engine(database_url: str, place: str | None) -> Iterator[Engine]:
    """An engine whose blobs go to the place."""
    made = engines.create(database_url, place)
    yield made
    made.dispose()


def address(engine: Engine, hash: str) -> str | None:
    with read(engine) as session:
        return session.get_one(Blob, hash).address


def strays(engine: Engine) -> list[str]:
    with read(engine) as session:
        return list(session.scalars(select(StrayObject.address)))


def damage(engine: Engine, hash: str, data: bytes | None) -> None:
    """Change the second chunk, or all of an object; None: it is lost."""
    where = address(engine, hash)
    if where is not None:
        objects.delete(where) if data is None else objects.put(where, BytesIO(data))
        return
    last = BlobChunk.position == select(func.max(BlobChunk.position)).scalar_subquery()
    with write(engine) as session:
        session.execute(
            delete(BlobChunk).where(last) if data is None else update(BlobChunk).where(last).values(data=data)
        )


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


def test_the_same_content_is_stored_once(engine: Engine, tmp_path: Path, place: str | None) -> None:
    stored(engine, tmp_path, b"same")
    stored(engine, tmp_path, b"same")

    with read(engine) as session:
        chunks = session.scalar(select(func.count()).select_from(BlobChunk))
    assert chunks == (1 if place is None else 0)
    assert strays(engine) == []


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
    damage(engine, hash, None)

    with pytest.raises(BlobDamaged, match="missing"):
        blobs.fetch(engine, hash, tmp_path / "copy")
    assert list(tmp_path.glob("copy*")) == []


def test_changed_bytes_are_noticed_and_leave_no_file(engine: Engine, tmp_path: Path) -> None:
    hash = stored(engine, tmp_path, b"good")
    damage(engine, hash, b"evil")

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


def test_an_object_is_a_stray_once_no_blob_has_it_and_goes(shop: Shop, tmp_path: Path, place: str | None) -> None:
    where = address(shop.engine, stored(shop.engine, tmp_path, b"gone"))

    shop.act(blobs.collect, -1)

    expected = [] if where is None else [where]
    assert strays(shop.engine) == expected
    assert blobs.collect_strays(shop.engine, 60) == 0
    assert blobs.collect_strays(shop.engine, -1) == len(expected)
    assert strays(shop.engine) == []
    for gone in expected:
        with pytest.raises(ContentMissing):
            objects.read(gone, 0, 1)


def test_a_damaged_blob_is_stored_again_elsewhere(engine: Engine, tmp_path: Path, place: str | None) -> None:
    hash = stored(engine, tmp_path, b"good")
    before = address(engine, hash)
    damage(engine, hash, b"evil")

    with write(engine) as session:
        blobs.empty(session, hash)
    stored(engine, tmp_path, b"good")

    assert b"".join(blobs.stream(engine, hash)) == b"good"
    assert strays(engine) == ([] if before is None else [before])


def test_what_died_on_its_way_is_known_and_does_not_disturb(engine: Engine, tmp_path: Path, place: str | None) -> None:
    if place is None:
        with write(engine) as session:
            session.add(Blob(sha256=sha256(b"good").hexdigest(), size=4))
    else:
        # As one that was killed between the two: the object is there, and no blob has it.
        with write(engine) as session:
            session.add(StrayObject(address=f"{place}/ab/dead"))
        objects.put(f"{place}/ab/dead", BytesIO(b"good"))

    hash = stored(engine, tmp_path, b"good")

    assert b"".join(blobs.stream(engine, hash)) == b"good"
    assert blobs.collect_strays(engine, -1) == (0 if place is None else 1)
    assert b"".join(blobs.stream(engine, hash)) == b"good"


@pytest.mark.parametrize("place", ["file", "s3"], indirect=True)
def test_an_object_that_took_too_long_is_left_to_be_removed(
    engine: Engine, tmp_path: Path, place: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "ADOPTED_SECONDS", -1)

    with pytest.raises(StorageAway, match="took so long"):
        stored(engine, tmp_path, b"late")

    (left,) = strays(engine)
    assert left.startswith(f"{place}/")
    with read(engine) as session, pytest.raises(BlobDamaged, match="not stored"):
        blobs.size(session, sha256(b"late").hexdigest())


def test_blobs_are_moved_while_they_are_read(
    engine: Engine, database_url: str, tmp_path: Path, place: str | None
) -> None:
    content = bytes(index % 251 for index in range(3 * CHUNK_BYTES + 7))
    hash = stored(engine, tmp_path, content)
    other = f"file://{tmp_path}/other" if place is None else None
    aimed = engines.create(database_url, other)

    reading = blobs.stream(engine, hash)
    read_first = next(reading)
    with read(engine) as session:
        assert blobs.misplaced(session, place) == []
        assert blobs.misplaced(session, other) == [hash]
    blobs.move(aimed, hash, tmp_path)

    assert read_first + b"".join(reading) == content
    assert b"".join(blobs.stream(engine, hash)) == content
    where = address(engine, hash)
    assert (where is None) == (other is None)
    with read(engine) as session:
        assert blobs.misplaced(session, other) == []
        assert blobs.places(session) == [(other or "sql", 1, len(content))]
        assert session.scalar(select(func.count()).select_from(BlobChunk)) == (4 if other is None else 0)
    assert len(strays(engine)) == (0 if place is None else 1)
    aimed.dispose()


def test_a_damaged_blob_is_not_moved(engine: Engine, database_url: str, tmp_path: Path, place: str | None) -> None:
    hash = stored(engine, tmp_path, b"good")
    before = address(engine, hash)
    damage(engine, hash, b"evil")
    aimed = engines.create(database_url, f"file://{tmp_path}/other")

    with pytest.raises(BlobDamaged):
        blobs.move(aimed, hash, tmp_path)

    assert address(engine, hash) == before
    aimed.dispose()


def test_storage_that_cannot_be_reached_is_told_and_nothing_counts_as_stored(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    objects.forget()
    engine = engines.create(sqlite_url, "s3://nowhere")

    with pytest.raises(StorageAway, match="s3://nowhere") as away:
        stored(engine, tmp_path, b"content")

    assert engines.is_unavailable(away.value)
    assert "\n" not in str(away.value)
    with read(engine) as session, pytest.raises(BlobDamaged, match="not stored"):
        blobs.size(session, sha256(b"content").hexdigest())
    objects.forget()


@pytest.mark.parametrize(
    "wrong", ["", "SQL", "file://host/folder", "file:folder", "s3://", "s3://bucket?x=1", "ftp://host/x", "/folder"]
)
def test_what_is_no_place_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="s3://bucket"):
        objects.refuse_unless_place(wrong)
