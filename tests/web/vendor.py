"""`make vendor`: the scripts of others that the pages and their tests use, from the npm registry that npm is set to.

Each is pinned by version and hash, and lies in the tree with its licence.
"""

import base64
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from hashlib import sha512
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Package:
    """What of a package goes where; `files` are names in it and in `folder`."""

    name: str
    version: str
    sha512: str
    folder: Path
    files: dict[str, str]


PACKAGES = (
    Package(
        "uplot",
        "1.6.32",
        "KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        ROOT / "app/web/static/vendor/uplot",
        {"dist/uPlot.esm.js": "uPlot.esm.js", "dist/uPlot.min.css": "uPlot.min.css", "LICENSE": "LICENSE.txt"},
    ),
    Package(
        "@noble/hashes",
        "2.4.0",
        "X5XaVWZIBCT7HHZGm5I7ZQXDwLG+bGXuSrMQAW+7Zvl87h1kmc1ZB1VSRJcpUfoUrGQp4Fkoxm5kZ+Ms+aW+eA==",
        ROOT / "app/web/static/vendor/noble-hashes",
        {**{name: name for name in ("sha2.js", "_md.js", "_u64.js", "utils.js")}, "LICENSE": "LICENSE.txt"},
    ),
    Package(
        "axe-core",
        "4.14.1",
        "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
        ROOT / "tests/web/vendor/axe-core",
        {"axe.min.js": "axe.min.js", "LICENSE": "LICENSE.txt", "LICENSE-3RD-PARTY.txt": "LICENSE-3RD-PARTY.txt"},
    ),
)


def fetch(package: Package) -> None:
    """Put a package's files into the tree. Raises `ValueError` where it is not the pinned one."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{package.name}@{package.version}"
        subprocess.run(["npm", "pack", "--silent", wanted], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        found = base64.b64encode(sha512(archive.read_bytes()).digest()).decode()
        if found != package.sha512:
            raise ValueError(f"{wanted} has the hash {found}, not {package.sha512}.")
        package.folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as files:
            for source, target in package.files.items():
                content = files.extractfile(f"package/{source}")
                assert content is not None
                (package.folder / target).write_bytes(content.read())
    (package.folder / "VERSION.txt").write_text(f"{wanted}\n")


if __name__ == "__main__":
    for package in PACKAGES:
        fetch(package)
