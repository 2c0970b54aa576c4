"""Scripts, styles and pictures of the pages, held in memory, plain and compressed.

Their address carries a hash of all of them: browsers keep them for ever, and whatever changes has another address.
"""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from trainer.spec import TrainingSpec

FOLDER = Path(__file__).with_name("static")
SCHEMA = "spec.schema.json"
"""What the form of a new job is made of."""
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class Asset:
    """A file as it is sent."""

    content: bytes
    compressed: bytes
    media_type: str


@dataclass(frozen=True)
class Bundle:
    """Every file by its path, and the hash of all of them."""

    assets: Mapping[str, Asset]
    version: str

    def url(self, path: str) -> str:
        """Where a file is. Raises `KeyError` for one that there is not."""
        return f"/static/{self.version}/{path}" if self.assets[path] else ""


@cache
def bundle() -> Bundle:
    """The files of this version of the app."""
    files = sorted(path for path in FOLDER.rglob("*") if path.suffix in TYPES)
    contents = {file.relative_to(FOLDER).as_posix(): file.read_bytes() for file in files}
    contents[SCHEMA] = json.dumps(TrainingSpec.model_json_schema()).encode()
    assets: dict[str, Asset] = {}
    digest = sha256()
    for path, content in contents.items():
        digest.update(f"{path} {len(content)} ".encode() + content)
        assets[path] = Asset(content, gzip.compress(content, mtime=0), TYPES[Path(path).suffix])
    return Bundle(assets, digest.hexdigest()[:16])
