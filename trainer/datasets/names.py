"""Paths of entries: which are taken, and in what form."""

import re
import unicodedata

from trainer.datasets.limits import Limits

JOINERS = "\u200c\u200d"
"""Invisible, and part of how words are written in Persian, Hindi and others."""

LITTER = re.compile(r"(^|/)(\.[^/]*|__MACOSX|Thumbs\.db|desktop\.ini)(/|$)")
"""What is hidden, and what file managers leave behind."""

NESTED = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar", ".npz")


class BadName(ValueError):
    """A path that is not taken: `code` for programs, `detail` for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def clean(name: str, limits: Limits) -> str:
    """A path as it is kept: without a leading `./` or a final `/`, composed (Unicode NFC). Raises `BadName`."""
    if len(name) > limits.name_characters:
        raise BadName(
            "name_too_long", f"Its path has {len(name)} characters; at most {limits.name_characters} are taken."
        )
    _check_characters(name)
    if "\\" in name:
        raise BadName("backslash", "Its path has a backslash; pack the files again with `/` between folders.")
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        raise BadName("absolute_path", "Its path is absolute; pack the files again by relative paths.")
    parts = name.removesuffix("/").split("/")
    while parts and parts[0] == ".":
        parts = parts[1:]
    if ".." in parts:
        raise BadName("climbing_path", "Its path climbs out of its folder by `..`; pack the files again without.")
    if not parts or "" in parts or "." in parts:
        raise BadName("odd_path", "Its path has an empty part; pack the files again by plain relative paths.")
    if len(parts) > limits.depth + 1:
        raise BadName("too_deep", f"It lies {len(parts) - 1} folders deep; at most {limits.depth} are taken.")
    return unicodedata.normalize("NFC", "/".join(parts))


def check_label(name: str, limits: Limits) -> None:
    """Refuse what is no name for a class. Raises `BadName`."""
    if not name.strip():
        raise BadName("empty_label", "A class has an empty name; give it one.")
    if len(name) > limits.class_name_characters:
        detail = f"A class's name has {len(name)} characters; at most {limits.class_name_characters} are taken."
        raise BadName("name_too_long", detail)
    _check_characters(name)


def folded(name: str) -> str:
    """What two names have in common that a file system, or a person, may take for the same."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold())


def printable(name: str) -> str:
    """A name as it may be shown: what is invisible or turns the writing about is escaped, and the rest cut."""
    shown = "".join(char if _is_plain(char) else f"\\u{ord(char):04x}" for char in name[:200])
    return shown if len(name) <= 200 else shown + "…"


def is_litter(name: str) -> bool:
    """Whether this is hidden, or a file manager left it behind."""
    return LITTER.search(name) is not None


def is_nested(name: str) -> bool:
    """Whether this is an archive within an archive."""
    return name.lower().endswith(NESTED)


def _check_characters(name: str) -> None:
    if name.isascii() and name.isprintable():
        return
    for char in name:
        if not _is_plain(char):
            raise BadName(
                "odd_character",
                f"Its name has the character U+{ord(char):04X}, which cannot be seen or is no character; rename it.",
            )


def _is_plain(char: str) -> bool:
    return char in JOINERS or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
