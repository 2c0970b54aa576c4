"""Uploads: parts as blobs, collected when nobody uses them."""

from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.store import attempts, blobs, datasets, imports, jobs, retention, uploads, wishes
from app.store.datasets import PackFile
from app.store.errors import NameTaken, NotFound, UploadInUse
from app.store.models import Blob, DatasetFile, Job, Upload
from tests.shop import Shop
from tests.specs import dataset as random_images
from trainer.datasets.bundled import describe
from trainer.datasets.downloads import KNOWN
from trainer.spec.importing import ImportSpec, Known, NamedSource, UploadedSource

CONTENT = bytes(range(200)) * 50
PART = 4096


def begun(shop: Shop, content: bytes = CONTENT, owner: str = "default") -> Upload:
    def begin(session: Session) -> Upload:
        hash = sha256(content).hexdigest()
        options = {"name": "x", "size": len(content), "sha256": hash, "part_bytes": PART, "most_bytes": 2**40}
        return uploads.begin(session, owner=owner, **options)[0]  # type: ignore[arg-type]

    found: Upload = shop.act(begin)
    return found


def arrived(shop: Shop, content: bytes = CONTENT, owner: str = "default") -> Upload:
    upload = begun(shop, content, owner)
    for number, start in enumerate(range(0, len(content), PART), 1):
        uploads.put(shop.engine, upload.id, number, BytesIO(content[start : start + PART]))
    return upload


def importing(shop: Shop, name: str, upload: Upload | None = None, **changes: object) -> Job:
    source = UploadedSource(kind="upload", upload=upload.id) if upload else NamedSource(kind="named", name="mnist")
    spec = ImportSpec.model_validate({"name": name, "source": source, **changes})

    def make(session: Session) -> Job:
        _, job = imports.make(session, spec, sees=None, max_attempts=3)
        assert job is not None
        return job

    made: Job = shop.act(make)
    return made


def count(shop: Shop, *tables: type) -> Sequence[int]:
    with shop.look() as session:
        return [session.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


def test_parts_come_back_as_the_whole(shop: Shop) -> None:
    upload = arrived(shop)
    job = importing(shop, "x", upload)

    claim = shop.claim()

    assert claim is not None
    assert (claim.job_id, claim.dataset) == (job.id, None)
    assert claim.upload is not None
    parts = b"".join(b"".join(blobs.stream(shop.engine, part)) for part in claim.upload.parts)
    assert parts == CONTENT


def test_equal_parts_of_two_uploads_are_stored_once_and_go_with_the_last(shop: Shop) -> None:
    one, two = arrived(shop, bytes(2 * PART)), arrived(shop, bytes(2 * PART), "other")
    assert count(shop, Blob) == [1]

    shop.act(uploads.remove, one.id)
    assert count(shop, Blob) == [1]
    shop.act(uploads.remove, two.id)
    assert count(shop, Blob) == [0]


def test_another_content_of_a_part_takes_the_place_of_the_first(shop: Shop) -> None:
    upload = begun(shop)
    for content in (bytes(PART), CONTENT[:PART]):
        uploads.put(shop.engine, upload.id, 1, BytesIO(content))

    assert count(shop, Blob) == [1]
    with shop.look() as session:
        (part,) = uploads.parts(session, upload.id)
        assert part.sha256 == sha256(CONTENT[:PART]).hexdigest()


def test_an_abandoned_upload_is_collected_and_one_that_an_import_waits_for_is_not(shop: Shop) -> None:
    arrived(shop)
    waited_for = arrived(shop, CONTENT[::-1])
    job = importing(shop, "x", waited_for)

    assert retention.collect(shop.engine, {}, 3600.0).uploads == 0
    with shop.look() as session:
        assert retention.plan(session, {}, 0.0).uploads == 1
    assert retention.collect(shop.engine, {}, 0.0).uploads == 1
    with shop.look() as session:
        assert [upload.id for upload in uploads.of_owner(session, None)] == [waited_for.id]
    with pytest.raises(UploadInUse):
        shop.act(uploads.remove, waited_for.id)
    shop.act(wishes.cancel, job.id)
    assert retention.collect(shop.engine, {}, 0.0).uploads == 1
    assert count(shop, Blob) == [0]
    with pytest.raises(NotFound):
        uploads.put(shop.engine, waited_for.id, 1, BytesIO(CONTENT[:PART]))


def test_blobs_of_a_data_set_are_kept_and_go_with_it(shop: Shop, tmp_path: Path) -> None:
    job = importing(shop, "x")
    claim = shop.claim()
    assert claim is not None
    path = tmp_path / "file"
    path.write_bytes(b"images")
    hash = blobs.put(shop.engine, path)
    manifest = describe(random_images()).model_dump(mode="json")
    shop.record(claim, pack_files=[PackFile("train-images.npy", hash, 6)], manifest=manifest)
    with shop.look() as session:
        assert datasets.get(session, "x").ready_at is None
    shop.act(attempts.succeed, job.id, claim.attempt)

    assert shop.act(blobs.collect, 0.0) == (0, 0)
    with shop.look() as session:
        found = datasets.get(session, "x")
        assert (found.size, found.ready_at is not None) == (6, True)
        assert datasets.files(session, found.id) == (PackFile("train-images.npy", hash, 6),)
    shop.act(jobs.delete, job.id)
    shop.act(datasets.remove, "x", None)
    assert count(shop, Blob, DatasetFile) == [0, 0]


def test_what_a_cancelled_import_had_stored_is_gone(shop: Shop, tmp_path: Path) -> None:
    job = importing(shop, "x")
    claim = shop.claim()
    assert claim is not None
    path = tmp_path / "file"
    path.write_bytes(b"images")
    hash = blobs.put(shop.engine, path)
    shop.record(claim, pack_files=[PackFile("train-images.npy", hash, 6)])
    shop.act(attempts.release, job.id, claim.attempt)

    shop.act(wishes.cancel, job.id)

    assert count(shop, Blob, DatasetFile) == [0, 0]


def test_names_are_taken_while_an_import_has_them(shop: Shop) -> None:
    job = importing(shop, "x")
    with pytest.raises(NameTaken):
        importing(shop, "x", options={"channels": 3})
    with pytest.raises(NameTaken):
        importing(shop, "mnist5k")

    shop.act(wishes.cancel, job.id)
    importing(shop, "x", options={"channels": 3})


def test_every_data_set_that_can_be_fetched_can_be_asked_for() -> None:
    assert set(get_args(Known)) == set(KNOWN)
