"""What is known of the data sets that come with the package, in the words of a pack's manifest."""

import numpy as np

from trainer.data import DataSet, Split
from trainer.datasets.manifest import VERSION, Manifest, Origin, SplitFacts, Splits
from trainer.datasets.options import ImportOptions

LICENCES = {"mnist5k": "CC BY-SA 3.0", "gaussian": None}


def describe(dataset: DataSet) -> Manifest:
    """A manifest of a data set in memory."""
    _, channels, height, width = dataset.train.images.shape
    pixels = dataset.train.images
    options = ImportOptions(licence=LICENCES.get(dataset.name))
    return Manifest(
        version=VERSION,
        name=dataset.name,
        sha256=dataset.sha256,
        classes=dataset.classes,
        channels=channels,
        height=height,
        width=width,
        splits=Splits(**{name: _facts(split, len(dataset.classes)) for name, split in dataset.splits()}),
        mean=tuple(pixels.mean((0, 2, 3)).tolist()),
        std=tuple(pixels.std((0, 2, 3)).tolist()),
        origin=Origin(
            source="annealer",
            container="folder",
            format="idx",
            options=options,
            versions={},
        ),
    )


def _facts(split: Split, classes: int) -> SplitFacts:
    return SplitFacts(count=len(split), per_class=tuple(np.bincount(split.labels, minlength=classes).tolist()))
