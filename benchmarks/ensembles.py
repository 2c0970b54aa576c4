"""Which ensembles pay: `make bench-ensembles`, or `python -m benchmarks.ensembles`.

A small network with batch norm learns `mnist5k` from 100, 500 and all 4,000 labels. Every way to predict with several
models stands beside a single one, over the same seeds (`benchmarks/treatments.py`). Predictions of finished trainings
are kept: what is interrupted goes on, and what is done is not done again until the spec, the data or the trainer's code
changes. `--page docs/ensembles.md` puts the tables where that page keeps places for them.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import page, progress, wording
from benchmarks.figures import table
from benchmarks.paired import paired_difference, spread
from benchmarks.treatments import EPOCHS, TREATMENTS, Found, Treatment, spec
from benchmarks.trials import Trial, conduct, labelled
from trainer import snapshot
from trainer.data import DataSet, Split
from trainer.evaluate import log_probabilities
from trainer.events import SnapshotTaken, TrainingStopped
from trainer.train import train

FULL: tuple[Sequence[int], int] = ((1, 2, 3, 4, 5), 1)
QUICK: tuple[Sequence[int], int] = ((1, 2), 5)
"""Seeds, and by what the epochs are divided."""
INTERRUPTED = 130
WIDTH = 156
WATCHED = 20
"""Images that a training validates by after each epoch: all 1,000 would take longer than the epoch itself."""
FIELDS = {"error, %": "error", "NLL, hundredths of a nat": "negative_log_likelihood", "ECE, %": "calibration_error"}
HEADERS = ("", "cost", *(header for name in FIELDS for header in (name, "times", "difference", "")))


class Shelf:
    """What models predict for the validation images, a file for each training."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, trial: Trial) -> Tensor | None:
        """Log-probabilities (M, N, K) float64, if the trial is done."""
        path = self._path(trial)
        return torch.from_numpy(np.load(path)).double() if path.exists() else None

    def add(self, trial: Trial, predicted: Tensor) -> None:
        """Keep them, as float32."""
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / "partial.npy"
        np.save(partial, predicted.float().numpy())
        partial.replace(self._path(trial))

    def _path(self, trial: Trial) -> Path:
        return self._folder / f"{trial.key}.npy"


@dataclass(frozen=True)
class Row:
    """A treatment at a number of labels: its scores by seed, and the single model's on the same ones."""

    treatment: Treatment
    scores: tuple[Found, ...]
    single: tuple[Found, ...]

    def values(self, field: str) -> tuple[list[float], list[float]]:
        """Those of the treatment and of the single model."""
        return [getattr(one, field) for one in self.scores], [getattr(one, field) for one in self.single]

    def factor(self, field: str) -> float:
        """The treatment's mean over that of the single model."""
        own, single = self.values(field)
        return fmean(own) / fmean(single)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not done yet, then show all that is; 130 when interrupted."""
    options = _parser().parse_args(arguments)
    shelf, console = Shelf(options.out), Console(width=WIDTH)
    trials = list(_trials(*(QUICK if options.quick else FULL)))
    left = [trial for trial in trials if shelf.find(trial) is None]
    console.print(f"{len(trials)} trainings, {len(trials) - len(left)} of them done before.")
    try:
        progress.follow(conduct(left, predict, shelf.add), len(left), console)
        interrupted = False
    except KeyboardInterrupt:
        interrupted = True
    parts = {}
    for labels in EPOCHS:
        if rows := _rows(labels, trials, shelf):
            console.print(_table(labels, rows))
            parts[f"{labels} labels"] = page.paragraphs(page.table(HEADERS, [_cells(row) for row in rows]))
    if options.page:
        options.page.write_text(page.fill(options.page.read_text(), parts))
        console.print(f"Filled in: {options.page}.")
    if interrupted:
        console.print("Interrupted: what is shown is what was done. The same command goes on.")
        return INTERRUPTED
    return 0


def predict(trial: Trial, stop: Callable[[], bool] = lambda: False) -> Tensor | None:
    """Train in this process, and let each snapshot predict the validation images: (M, N, K); None when stopped."""
    whole = labelled(trial.spec.dataset, trial.labels)
    images = torch.tensor(whole.validation.images)
    watched = Split(whole.validation.images[:WATCHED], whole.validation.labels[:WATCHED])
    dataset = DataSet(whole.name, whole.train, watched, whole.classes)
    predicted = []
    for event in train(trial.spec, dataset, device=torch.device("cpu"), checkpoint_seconds=inf, stop=stop):
        match event:
            case SnapshotTaken(weights=weights, provenance=provenance):
                model = snapshot.skeleton(provenance)
                model.load_state_dict(weights)
                predicted.append(log_probabilities(model, images))
            case TrainingStopped():
                return None
    return torch.stack(predicted)


def _trials(seeds: Sequence[int], shortened: int) -> Iterator[Trial]:
    """Every training, seed by seed, so that there is something of each treatment early."""
    names = dict.fromkeys(name for treatment in TREATMENTS for name in treatment.trainings)
    for seed in seeds:
        for labels in EPOCHS:
            for name in names:
                yield Trial(name, labels, seed, spec(name, labels, seed, shortened))


def _rows(labels: int, trials: Sequence[Trial], shelf: Shelf) -> list[Row]:
    """Each treatment, on the seeds whose trainings are all done."""
    truth = torch.tensor(labelled("mnist5k", labels).validation.labels)
    found: dict[int, dict[str, Tensor]] = {}
    for trial in trials:
        if trial.labels == labels and (predicted := shelf.find(trial)) is not None:
            found.setdefault(trial.seed, {})[trial.variant] = predicted
    names = {name for treatment in TREATMENTS for name in treatment.trainings}
    whole = [by_name for by_name in found.values() if by_name.keys() == names]

    def scores(treatment: Treatment) -> tuple[Found, ...]:
        return tuple(treatment.measure([done[name] for name in treatment.trainings], truth) for done in whole)

    single = scores(TREATMENTS[0])
    return [Row(treatment, scores(treatment), single) for treatment in TREATMENTS] if whole else []


def _table(labels: int, rows: Sequence[Row]) -> Table:
    count = len(rows[0].scores)
    title = f"{labels:,} labels, {EPOCHS[labels]} epochs, mean ± standard deviation over {count} seeds"
    made = table(title, *HEADERS)
    for row in rows:
        made.add_row(*_cells(row))
    return made


def _cells(row: Row) -> tuple[str, ...]:
    """What stands below `HEADERS`: each score, by what it multiplies the single model's, and the paired difference."""
    cells = [row.treatment.name, f"{row.treatment.cost:g}"]
    for field in FIELDS.values():
        own, single = row.values(field)
        is_compared = row.treatment is not TREATMENTS[0] and len(own) > 1
        difference = paired_difference(own, single) if is_compared else None
        factor = f"×{row.factor(field):.2f}" if is_compared else ""
        cells += [wording.plus_minus(spread(own), 100, 2), factor, *wording.difference(difference, 100, 2)]
    return tuple(cells)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ensembles", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two seeds, a fifth of the epochs: minutes")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", default=Path("runs/ensembles"), help="of the predictions; runs/ensembles"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="also put the tables into the places that this page keeps for them"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
