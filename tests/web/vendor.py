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
    """What of a package goes where; `files` are names in it and in `folder`.

    `bundle` is what to make one module of, where a package has many: its name, and the code that exports it.
    """

    name: str
    version: str
    sha512: str
    folder: Path
    files: dict[str, str]
    bundle: tuple[str, str] | None = None


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
        "yaml",
        "2.9.1",
        "3NxN8+78OdzbT7C/WjGsyfPAtJaN3FNDsWxv7Y7mcDsT/oOmgW8BpyQQFFBnvZE3j9Y2Sdz1ULFLezL7Eb2yFw==",
        ROOT / "app/web/static/vendor/yaml",
        {"LICENSE": "LICENSE.txt"},
        ("yaml.min.js", 'export { isMap, isSeq, parseDocument } from "./browser/index.js";'),
    ),
    Package(
        "axe-core",
        "4.14.1",
        "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
        ROOT / "tests/web/vendor/axe-core",
        {"axe.min.js": "axe.min.js", "LICENSE": "LICENSE.txt", "LICENSE-3RD-PARTY.txt": "LICENSE-3RD-PARTY.txt"},
    ),
)


BUNDLER = Package(
    "@esbuild/linux-x64",
    "0.28.2",
    "4xTZr1FUmSoQW4XIWmit3tzQrUTZM+N3P0XV8xROKYF50XfI7xeO90+1bZvNwxIufQ9hDQVRJH5YhgPVF8A/HQ==",
    Path(),
    {},
)


def fetch(package: Package) -> None:
    """Put a package's files into the tree. Raises `ValueError` where it is not the pinned one."""
    with tempfile.TemporaryDirectory() as folder:
        source = unpack(package, Path(folder))
        package.folder.mkdir(parents=True, exist_ok=True)
        for name, target in package.files.items():
            (package.folder / target).write_bytes((source / name).read_bytes())
        if package.bundle:
            bundle(source, package.folder / package.bundle[0], package.bundle[1])
    (package.folder / "VERSION.txt").write_text(f"{package.name}@{package.version}\n")


def unpack(package: Package, folder: Path) -> Path:
    """The unpacked package in a folder of its own. Raises `ValueError` where it is not the pinned one."""
    wanted = f"{package.name}@{package.version}"
    subprocess.run(["npm", "pack", "--silent", wanted], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tgz")
    found = base64.b64encode(sha512(archive.read_bytes()).digest()).decode()
    if found != package.sha512:
        raise ValueError(f"{wanted} has the hash {found}, not {package.sha512}.")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder / "package"


def bundle(source: Path, target: Path, code: str) -> None:
    """Make one module of the many of a package."""
    entry = source / "entry.js"
    entry.write_text(code)
    with tempfile.TemporaryDirectory() as folder:
        program = unpack(BUNDLER, Path(folder)) / "bin" / "esbuild"
        options = ["--bundle", "--minify", "--format=esm", "--log-level=error", f"--outfile={target}"]
        subprocess.run([program, entry, *options], check=True)


if __name__ == "__main__":
    for package in PACKAGES:
        fetch(package)
