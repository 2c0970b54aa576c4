"""The disk that scratch folders are on."""

import shutil
from pathlib import Path


def full(folder: Path) -> str:
    """A sentence for operators about a disk without room."""
    found = shutil.disk_usage(folder)
    return f"The worker's scratch disk is full: {folder} has {found.free:,} of {found.total:,} bytes free."
