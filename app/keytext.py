"""The text of an API key: `ann_`, a public prefix that names the key, `_`, a secret.

The secret has 190 random bits, or 128 where it is made of hexadecimal digits, as `openssl rand` gives them. Nobody
can guess it, and so a plain SHA-256 keeps it as well as a slow hash would, at no cost to each request.
"""

import re
import secrets
import string
from hashlib import sha256

ALPHABET = string.ascii_letters + string.digits
PREFIX_LENGTH = 8
SECRET_LENGTH = 32
FEWEST_CHARACTERS = 8
"""A random secret has more different ones: with hexadecimal digits all but once in some ten million times."""

KEY = re.compile(rf"ann_([A-Za-z0-9]{{{PREFIX_LENGTH}}})_([A-Za-z0-9]{{{SECRET_LENGTH}}})")
LEAK = re.compile(rf"(ann_[A-Za-z0-9]{{{PREFIX_LENGTH}}}_)[A-Za-z0-9]+")


def new() -> str:
    """A key that nobody has."""
    return f"ann_{_random(PREFIX_LENGTH)}_{_random(SECRET_LENGTH)}"


def prefix(key: str) -> str | None:
    """The part that names the key; None where the text is no key."""
    match = KEY.fullmatch(key)
    return match[1] if match else None


def is_random(key: str) -> bool:
    """Whether a key that somebody else made looks like one."""
    match = KEY.fullmatch(key)
    return match is not None and len(set(match[2])) >= FEWEST_CHARACTERS


def digest(key: str) -> str:
    """What is stored of a key, in hexadecimal."""
    return sha256(key.encode()).hexdigest()


def redact(text: str) -> str:
    """The text with `…` in place of the secrets in it."""
    return LEAK.sub(r"\1…", text)


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
