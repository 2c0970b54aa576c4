"""`python -m trainer.datasets PATH --out FOLDER`: pack data with no server."""

import argparse
import sys
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from trainer.datasets.budget import Progress
from trainer.datasets.downloads import KNOWN
from trainer.datasets.importer import import_data, import_known
from trainer.datasets.manifest import Manifest
from trainer.datasets.options import Filter, Fit, Format, GivenSplit, ImportOptions, SplitRule, StratifiedSplit
from trainer.errors import DataInvalid

DONE, BAD_INPUT = 0, 2
DOWNLOADS = Path("~/.cache/annealer").expanduser()


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code is 0 done, 2 bad input."""
    asked = _parser().parse_args(arguments)
    try:
        manifest = _import(asked)
    except DataInvalid as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    except ValidationError as error:
        for one in error.errors():
            print(f"--{'.'.join(map(str, one['loc']))}: {one['msg']}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return BAD_INPUT
    print(_described(manifest))
    return DONE


def _import(asked: argparse.Namespace) -> Manifest:
    options, known = _options(asked), str(asked.path)
    try:
        if known in KNOWN and not asked.path.exists():
            return import_known(known, asked.out, asked.downloads / known, options, name=asked.name, report=_show)
        return import_data(asked.path, asked.out, options, name=asked.name, report=_show)
    finally:
        if sys.stderr.isatty():
            print(file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer.datasets", description="Pack a data set, with no server.")
    parser.add_argument("path", type=Path, help=f"folder, zip, tar, npz or CSV, or {', '.join(KNOWN)}")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pack; it must not exist")
    parser.add_argument("--downloads", type=Path, default=DOWNLOADS, help=f"folder for what is fetched; {DOWNLOADS}")
    parser.add_argument("--name", help="of the data set; default: that of the path")
    parser.add_argument("--format", choices=get_args(Format), help="default: found out")
    parser.add_argument("--size", help="of the packed images, HEIGHTxWIDTH or one number; default: as they are")
    parser.add_argument(
        "--fit", choices=get_args(Fit), default="crop", help="for images of another shape; default: crop"
    )
    parser.add_argument("--filter", choices=get_args(Filter), default="bilinear", help="default: bilinear")
    parser.add_argument("--channels", type=int, choices=(1, 3), help="1 grey, 3 colour; default: as they are")
    parser.add_argument(
        "--validation", type=float, help="share of the images that validate; default: as the source has it"
    )
    parser.add_argument("--test", type=float, default=0.0, help="share of the images that test, with --validation")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of these; default: 0")
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="names of the classes in the order of their numbers"
    )
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out what cannot be read, and say what")
    return parser


def _options(asked: argparse.Namespace) -> ImportOptions:
    split: SplitRule = GivenSplit(kind="given")
    if asked.validation is not None or asked.test:
        split = StratifiedSplit(kind="stratified", validation=asked.validation or 0.0, test=asked.test, seed=asked.seed)
    return ImportOptions(
        format=asked.format,
        split=split,
        size=_size(asked.size) if asked.size else None,
        fit=asked.fit,
        filter=asked.filter,
        channels=asked.channels,
        classes=tuple(asked.classes) if asked.classes else None,
        skip_unreadable=asked.skip_unreadable,
    )


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and (width or height).isdecimal()):
        raise DataInvalid(f"--size is HEIGHTxWIDTH or one number, in pixels; it is {text}.")
    return int(height), int(width or height)


def _described(manifest: Manifest) -> str:
    splits = ((name, getattr(manifest.splits, name)) for name in ("train", "validation", "test"))
    lines = [
        f"{manifest.name}  {manifest.sha256}",
        f"{manifest.channels}×{manifest.height}×{manifest.width}, {len(manifest.classes)} classes: "
        f"{_shortened(manifest.classes)}",
        *(f"{name}: {facts.count:,} images" for name, facts in splits if facts),
    ]
    for note in manifest.warnings:
        lines += [f"Warning: {note.detail}", *(f"  {entry}" for entry in note.entries[:10])]
    return "\n".join(lines)


def _shortened(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:10])
    return shown if len(classes) <= 10 else f"{shown}, … {classes[-1]}"


def _show(progress: Progress) -> None:
    """How far it is, on one line, where a person watches."""
    if sys.stderr.isatty():
        total = f" of {progress.total:,}" if progress.total else ""
        print(f"\r{progress.stage} {progress.done:,}{total}\033[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
