"""How much of a stranger's data is looked at before it is refused."""

from dataclasses import dataclass

KIB, MIB, GIB = 1024, 1024**2, 1024**3


@dataclass(frozen=True)
class Limits:
    """Bounds on what an import reads, allocates and writes. A service may set each."""

    entries: int = 2_000_000
    """Files and folders in the source."""

    directory_bytes: int = 512 * MIB
    """A zip file's table of contents, which is held in memory."""

    name_characters: int = 1_024
    """The path of an entry."""

    depth: int = 16
    """Folders above an entry."""

    entry_bytes: int = 256 * MIB
    """One image, table or pickle, unpacked; it is held in memory."""

    unpacked_bytes: int = 1_024 * GIB
    """All entries together, unpacked."""

    ratio: int = 200
    """How many times larger than its archive the unpacked content may be, once it passes `ratio_from_bytes`."""

    ratio_from_bytes: int = 64 * MIB
    """Unpacked bytes up to which any ratio will do."""

    image_pixels: int = 64 * MIB
    """Width times height of one image before it is resized."""

    side: int = 4_096
    """Height and width of the packed images."""

    images: int = 50_000_000
    """Images in all splits together."""

    pack_bytes: int = 1_024 * GIB
    """All packed images together."""

    classes: int = 65_536
    """Classes of one data set."""

    class_name_characters: int = 200
    """The name of one class."""

    findings: int = 100
    """Complaints that are kept of one kind; the others are only counted."""

    seconds: float = 24 * 3_600
    """The whole import."""
