"""Files of the store as answers: whole or in part, and not again where the client has them (RFC 9110)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Engine

from app.api import documents
from app.api.deps import EngineOf, matches
from app.errors import Problem
from app.store import blobs

FILE = "application/octet-stream"
PIECE_BYTES = 256 * 1024
CONTENT = {FILE: {"schema": {"type": "string", "format": "binary"}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": CONTENT},
    206: {"description": "Part of the file.", "content": CONTENT},
    304: {"description": "You have it."},
    **documents.problems(404, 416, 422, 503),
}
"""What an endpoint that answers with a `Download` may answer."""


@dataclass(frozen=True)
class Download:
    """What a request wants of a file, whichever that is."""

    request: Request
    engine: Engine
    range: str | None
    if_range: str | None
    if_none_match: str | None

    def of(self, sha256: str, size: int, name: str, media_type: str = FILE) -> Response:
        """The file of a blob, to be saved by that name. Raises `Problem` for a range outside it."""
        etag = f'"{sha256}"'
        headers = {
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "Cache-Control": "private, max-age=31536000, immutable",
            "Content-Disposition": f'attachment; filename="{name}"',
        }
        if matches(self.if_none_match, etag):
            return Response(status_code=304, headers=headers)
        start, end, status = 0, size, 200
        if self.range and self.if_range in (None, etag):
            part = byte_range(self.range, size)
            if part:
                (start, end), status = part, 206
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        headers["Content-Length"] = str(end - start)
        if self.request.method == "HEAD":
            return Response(status_code=status, headers=headers, media_type=media_type)
        pieces = _pieces(blobs.stream(self.engine, sha256, start, end))
        return StreamingResponse(pieces, status, headers, media_type)


async def _download(
    request: Request,
    engine: EngineOf,
    range: Annotated[str | None, Header(description="One range of bytes.")] = None,
    if_range: Annotated[str | None, Header(description="The range only if this is the ETag.")] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Download:
    return Download(request, engine, range, if_range, if_none_match)


DownloadOf = Annotated[Download, Depends(_download)]


def _pieces(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """In pieces so small that several, on their way to a client that reads slowly, hold little."""
    for chunk in chunks:
        for start in range(0, len(chunk), PIECE_BYTES):
            yield chunk[start : start + PIECE_BYTES]


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of a single range; None where the header is to be ignored (RFC 9110, 14.2).

    Raises `Problem` where the range lies outside the file.
    """
    match = re.fullmatch(r"bytes=(\d{1,18})?-(\d{1,18})?", header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if match[1] is None:
        start, end = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        end = min(size, int(match[2]) + 1) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    if start >= size or start >= end:
        headers = {"Content-Range": f"bytes */{size}"}
        raise Problem(416, "range-not-satisfiable", f"The file has {size} bytes.", headers=headers)
    return start, end
