"""Ids that tell what they name and sort by the time they were made."""

from typing import Literal

import uuid_utils


def new(prefix: Literal["job", "snap", "ens", "data", "work", "key", "up"]) -> str:
    """`job_` and 32 hexadecimal digits of a UUID 7."""
    return f"{prefix}_{uuid_utils.uuid7().hex}"
