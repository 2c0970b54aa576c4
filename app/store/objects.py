"""Contents outside the database, each by its address: `file:///folder/…`, or `s3://bucket/…`, whoever speaks that.

Where S3 is and who we are there, the usual variables say: AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and so on.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from app.store.errors import ContentMissing, StorageAway

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig

PATIENCE: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}
SECONDS = "30s"


def refuse_unless_place(place: str) -> str:
    """The address of a folder or bucket, without a slash at its end. Raises `ValueError` for what is none."""
    parts = urlsplit(place)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return place.rstrip("/")
    if parts.scheme == "s3" and parts.netloc and not parts.query:
        return place.rstrip("/")
    raise ValueError("Give sql, file:///absolute/folder, or s3://bucket/prefix.")


def put(address: str, file: BinaryIO) -> None:
    """Store what is left of a file, on the disk once this returns. Raises `StorageAway`."""
    import obstore

    store, key = _opened(address)
    with _told(address):
        obstore.put(store, key, file)
        if address.startswith("file:"):
            _settle(Path(unquote(urlsplit(address).path)))


def read(address: str, start: int, end: int) -> bytes:
    """Bytes from `start` up to `end` (exclusive). Raises `ContentMissing` or `StorageAway`."""
    import obstore

    if start >= end:
        return b""
    store, key = _opened(address)
    with _told(address):
        return bytes(obstore.get_range(store, key, start=start, end=end))


def delete(address: str) -> None:
    """Remove an object, if it is there. Raises `StorageAway`."""
    import obstore

    store, key = _opened(address)
    with suppress(ContentMissing), _told(address):
        obstore.delete(store, key)


def forget() -> None:
    """Look at the environment again."""
    _store.cache_clear()


def _opened(address: str) -> tuple["ObjectStore", str]:
    parts = urlsplit(address)
    return _store(f"{parts.scheme}://{parts.netloc}"), unquote(parts.path.lstrip("/"))


@cache
def _store(root: str) -> "ObjectStore":
    """The whole file system, or a bucket."""
    # Here: a service that keeps everything in the database does without.
    from obstore.store import LocalStore, S3Store

    if root == "file://":
        return LocalStore("/", mkdir=True)
    is_plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    return S3Store(
        urlsplit(root).netloc,
        client_options={"timeout": SECONDS, "allow_http": is_plain},
        retry_config=PATIENCE,
    )


@contextmanager
def _told(address: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ContentMissing(f"There is no {address}.") from None
    except Exception as error:
        # What obstore raises has pages of Rust behind its first line.
        first = str(error).partition("\n")[0]
        raise StorageAway(f"{address} cannot be reached: {first}") from error


def _settle(path: Path) -> None:
    """Let a file and its name survive a loss of power."""
    for place in (path, path.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
