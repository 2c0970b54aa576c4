"""What a container holds."""

from collections.abc import Callable, Mapping

from trainer.datasets import class_folders
from trainer.datasets.container import Container
from trainer.datasets.options import Format, ImportOptions
from trainer.datasets.source import Source

Reader = Callable[[Container], Source]

READERS: Mapping[Format, Reader] = {"class_folders": class_folders.read}


def recognise(container: Container, options: ImportOptions) -> Source:
    """Find out what it is, unless that was said, and begin to read it. Raises `DataRefused`."""
    return READERS[options.format or "class_folders"](container)
