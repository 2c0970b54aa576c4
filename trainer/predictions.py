"""What networks together say of every image of a data set, as a table: `predict_all` reports as it goes.

Images are streamed and rows written as they come, so that neither has to fit into memory. Nothing here depends on what
happened before: one that was stopped begins anew.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from trainer import feed, snapshot, tablefile
from trainer.data import DataSet, Labels, Split
from trainer.device import algorithms
from trainer.errors import DataInvalid
from trainer.evaluate import BATCH_SIZE
from trainer.events import Advanced, Event, FileWritten, PhaseStarted, TaskFinished, TaskStopped
from trainer.predict import Predicted, predict
from trainer.spec.prediction import ResolvedPrediction
from trainer.tablefile import Column, Words

Members = Sequence[tuple[nn.Module, float]]


def predict_all(
    spec: ResolvedPrediction,
    data: DataSet,
    paths: Sequence[Path],
    folder: Path,
    *,
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Write the table into `folder`; `paths` are the files of the model's members, in order.

    Asked to `stop`, it does so before the next batch. Raises `DataInvalid` or `DataLost`.
    """
    with algorithms(deterministic=True):
        yield PhaseStarted("loading_data")
        splits = _splits(spec, data)
        loaded = [snapshot.load(path) for path in paths]
        weights = [member.weight for member in spec.model.members]
        members = [(network.to(device), weight) for (network, _), weight in zip(loaded, weights, strict=True)]
        table = Table(spec, data.classes, loaded[0][1]["classes"])
        path = folder / f"predictions.{spec.format}"
        of, done = sum(-(-len(split) // BATCH_SIZE) for split in splits.values()), 0
        yield PhaseStarted("predicting")
        with tablefile.opened(path, spec.format, table.names) as write, feed.streamed(splits, device) as images:
            for name, split in splits.items():
                first = 0
                for batch in images[name].pieces(BATCH_SIZE):
                    if stop():
                        yield TaskStopped()
                        return
                    found = predict(members, spec.model.combine, spec.model.temperature, batch)
                    write(table.rows(name, first, split.labels[first : first + len(batch)], found))
                    first, done = first + len(batch), done + 1
                    yield Advanced(done, of)
        yield FileWritten(path.name, tablefile.MEDIA_TYPES[spec.format], path.stat().st_size)
        yield TaskFinished()


class Table:
    """Columns: where an image stands, its label in the data set, what is predicted and how sure that is."""

    def __init__(self, spec: ResolvedPrediction, labels: Sequence[str], classes: Sequence[str]) -> None:
        self._labels = labels
        self._classes = classes
        self._is_sure = spec.model.combine != "majority_vote"
        self._has_all = self._is_sure and spec.probabilities
        self.names = ["split", "index", "label", "predicted"]
        self.names += ["probability"] if self._is_sure else []
        self.names += [f"p({name})" for name in classes] if self._has_all else []

    def rows(self, split: str, first: int, labels: Labels, found: Predicted) -> list[Column]:
        """Rows of the images of a split from number `first` on, counted from 0. Raises `DataInvalid`."""
        count = len(labels)
        columns: list[Column] = [
            Words(np.zeros(count, np.int64), [split]),
            np.arange(first, first + count),
            Words(labels, self._labels),
            Words(found.classes.numpy(), self._classes),
        ]
        if not self._is_sure:
            return columns
        assert found.probabilities is not None
        likely = found.probabilities.numpy()
        if not np.isfinite(likely).all():
            raise DataInvalid(f"The model predicts values that are not finite for images from {first} on of {split}.")
        columns.append(likely.max(1))
        return columns + list(likely.T) if self._has_all else columns


def _splits(spec: ResolvedPrediction, data: DataSet) -> dict[str, Split]:
    there = dict(data.splits())
    if missing := set(spec.splits or ()) - set(there):
        raise DataInvalid(f"The data set {data.name} has no split {', '.join(sorted(missing))}.")
    return {name: there[name] for name in spec.splits or there}
