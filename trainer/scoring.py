"""Makes an ensemble of snapshots and scores it: `score` reports as it goes and ends with all that was found.

Members are run one after another over the images of every split that is asked for, streamed from the host; what
follows is arithmetic on their log-probabilities, float64 on the CPU. Nothing here depends on what happened before: a
scoring that was stopped begins anew, and on the same kind of device finds the same to the bit.
"""

import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from trainer import bootstrap, diversity, feed, selection, snapshot, splits, temperature
from trainer.combine import Combination, Prediction, combine, growing
from trainer.data import DataSet
from trainer.device import algorithms
from trainer.errors import DataInvalid
from trainer.evaluate import log_probabilities, scores
from trainer.events import Advanced, EnsembleMeasured, Event, PhaseStarted, TaskFinished, TaskStopped, VoteScores
from trainer.feed import Feed
from trainer.report import (
    Diversity,
    Gain,
    GrowthPoint,
    MemberReport,
    Report,
    SelectionReport,
    TemperatureReport,
)
from trainer.scores import brier, calibration, confusion, log_likelihoods, of_classes, top_k
from trainer.selection import Selected
from trainer.spec.scoring import ScoredSplit, ScoringSpec, SelectAll, SelectBest, SelectGreedy

Taken = Sequence[tuple[int, float]]
"""Places of members with their weights, in the order in which they were taken."""


def score(
    spec: ScoringSpec,
    data: DataSet,
    members: Sequence[tuple[str, Path]],
    *,
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Run `members`, files by the ids of their snapshots, and report what they are together.

    Asked to `stop`, it does so before the next member, be that one to be run or to be chosen. Raises `DataInvalid` or
    `DataLost`.
    """
    with algorithms(deterministic=True), ExitStack() as stack:
        yield PhaseStarted("loading_data")
        views = _views(spec, data)
        images = stack.enter_context(feed.streamed({name: getattr(data, name) for name in _whole(views)}, device))
        yield PhaseStarted("scoring")
        predicted: list[dict[str, Tensor]] = []
        for done, (id, path) in enumerate(members, 1):
            if stop():
                yield TaskStopped()
                return
            predicted.append(_run(id, path, images, device))
            yield Advanced(done, _pieces(spec, len(members)))
        scoring = Scoring(spec, data.classes, [id for id, _ in members], views, predicted)
        chosen = yield from scoring.choose(stop)
        if chosen is None:
            yield TaskStopped()
            return
        yield scoring.measured(*chosen)
        yield TaskFinished()


class View:
    """A named split: which images of the whole one that it is of, and their labels (n,)."""

    def __init__(self, name: ScoredSplit, labels: Tensor, seed: int) -> None:
        self.whole = name.partition("/")[0]
        self.indices = splits.indices(name, labels, seed)
        self.labels = labels[self.indices]


class Scoring:
    """What members predict for every split, and what follows from it."""

    def __init__(
        self,
        spec: ScoringSpec,
        classes: tuple[str, ...],
        ids: Sequence[str],
        views: Mapping[ScoredSplit, View],
        predicted: Sequence[Mapping[str, Tensor]],
    ) -> None:
        self._spec = spec
        self._classes = classes
        self._ids = ids
        self._views = views
        self._predicted = predicted

    def choose(
        self, stop: Callable[[], bool]
    ) -> Generator[Advanced, None, tuple[Taken, SelectionReport | None] | None]:
        """Which members the ensemble is made of, and how they were chosen, where they were; None when stopped."""
        count = len(self._ids)
        match self._spec.select:
            case SelectAll(weights=weights):
                return list(enumerate(weights or [1.0] * count)), None
            case SelectBest(count=wanted, by=by, on=on):
                found = selection.best(self._on(on), self._views[on].labels, wanted, by)
            case SelectGreedy(count=wanted, by=by, on=on):
                how: Literal["mean", "geometric_mean"] = "mean" if self._spec.combine == "mean" else "geometric_mean"
                steps: list[tuple[int, float]] = []
                for step in itertools.islice(selection.greedily(self._on(on), self._views[on].labels, by, how), wanted):
                    if stop():
                        return None
                    steps.append(step)
                    yield Advanced(count + len(steps), _pieces(self._spec, count))
                found = selection.best_size(steps)
        return [(place, 1.0) for place in found.path], _selection(found, self._spec.select)

    def measured(self, taken: Taken, chosen_by: SelectionReport | None) -> EnsembleMeasured:
        """Everything, on the split that is scored."""
        members, labels = self._on(self._spec.scored_on), self._views[self._spec.scored_on].labels
        weights = [0.0] * len(members)
        for place, weight in taken:
            weights[place] += weight
        shares = tuple(weight / sum(weights) for weight in weights)
        path = list(growing(self._spec.combine, [(members[place], weight) for place, weight in taken]))
        scaled, heat = self._scaled(path[-1], taken, labels)
        report = self._report(members, labels, shares, scaled).model_copy(
            update={
                "growth": tuple(
                    _growth(size, place, prediction, labels)
                    for size, ((place, _), prediction) in enumerate(zip(taken, path, strict=True), 1)
                ),
                "selection": chosen_by,
                "temperature": heat,
            }
        )
        votes = _error(self._together("majority_vote", members, taken).classes, labels)
        geometric = self._together("geometric_mean", members, taken).log_probabilities
        assert geometric is not None
        return EnsembleMeasured(
            shares=shares,
            report=report.model_dump(mode="json"),
            geometric_mean=scores(geometric, labels),
            majority_vote=VoteScores(1 - votes, votes),
        )

    def _on(self, split: ScoredSplit) -> list[Tensor]:
        """What each member predicts for a split: (n, K)."""
        view = self._views[split]
        return [member[view.whole][view.indices] for member in self._predicted]

    def _together(self, how: Combination, members: Sequence[Tensor], taken: Taken) -> Prediction:
        return combine(how, [(members[place], weight) for place, weight in taken])

    def _scaled(
        self, prediction: Prediction, taken: Taken, labels: Tensor
    ) -> tuple[Prediction, TemperatureReport | None]:
        """The prediction with the temperature that is asked for, and what it was without."""
        wanted, found = self._spec.temperature, prediction.log_probabilities
        if wanted is None or found is None:
            return prediction, None
        held_out = self._together(self._spec.combine, self._on(wanted.on), taken).log_probabilities
        assert held_out is not None
        value = temperature.fit(held_out, self._views[wanted.on].labels)
        report = TemperatureReport(
            value=value,
            on=wanted.on,
            unscaled_negative_log_likelihood=scores(found, labels).negative_log_likelihood,
            unscaled_brier=brier(found, labels),
            unscaled_expected_calibration_error=calibration(found, labels).expected_calibration_error,
        )
        return Prediction(prediction.classes, temperature.scale(found, value)), report

    def _report(
        self, members: Sequence[Tensor], labels: Tensor, shares: Sequence[float], prediction: Prediction
    ) -> Report:
        found = prediction.log_probabilities
        error = _error(prediction.classes, labels)
        table = confusion(prediction.classes, labels, len(self._classes))
        alone = tuple(map(_member, self._ids, shares, members, [labels] * len(members)))
        return Report(
            split=self._spec.scored_on,
            images=len(labels),
            accuracy=1 - error,
            error=error,
            negative_log_likelihood=None if found is None else scores(found, labels).negative_log_likelihood,
            brier=None if found is None else brier(found, labels),
            top_k=() if found is None else top_k(found, labels),
            calibration=None if found is None else calibration(found, labels),
            confusion=tuple(map(tuple, table.tolist())),
            classes=of_classes(table, self._classes),
            members=alone,
            diversity=_diversity(members, labels, [place for place, share in enumerate(shares) if share]),
            gain=self._gain(members, labels, alone, prediction),
            growth=(),
            selection=None,
            temperature=None,
        )

    def _gain(
        self, members: Sequence[Tensor], labels: Tensor, alone: Sequence[MemberReport], prediction: Prediction
    ) -> Gain:
        """Against the member with the lowest error, of equals the one with the higher likelihood."""
        best = min(range(len(alone)), key=lambda place: (alone[place].error, alone[place].negative_log_likelihood))
        options = self._spec.bootstrap
        interval = partial(bootstrap.interval, draws=options.draws, confidence=options.confidence, seed=options.seed)
        errors = [(classes != labels).double() for classes in (members[best].argmax(1), prediction.classes)]
        found = prediction.log_probabilities
        likelihood = None
        if found is not None:
            gains = log_likelihoods(found, labels) - log_likelihoods(members[best], labels)
            likelihood = interval(gains)
        return Gain(
            best_member=best,
            error=interval(errors[0] - errors[1]),
            negative_log_likelihood=likelihood,
            confidence=options.confidence,
            draws=options.draws,
        )


def _views(spec: ScoringSpec, data: DataSet) -> dict[ScoredSplit, View]:
    names: set[ScoredSplit] = {spec.scored_on, *spec.fitted_on.values()}
    return {
        name: View(name, torch.tensor(getattr(data, name.partition("/")[0]).labels), spec.split_seed)
        for name in sorted(names)
    }


def _pieces(spec: ScoringSpec, members: int) -> int:
    """Of the work: each member is run, and in greedy selection one is taken so often."""
    return members + (spec.select.count if isinstance(spec.select, SelectGreedy) else 0)


def _whole(views: Mapping[ScoredSplit, View]) -> list[str]:
    return sorted({view.whole for view in views.values()})


def _run(id: str, path: Path, images: Mapping[str, Feed], device: torch.device) -> dict[str, Tensor]:
    """Log-probabilities (N, K) of a snapshot for each whole split. Raises `DataInvalid` where they are no numbers."""
    model, _ = snapshot.load(path)
    model.to(device)
    found = {name: log_probabilities(model, split) for name, split in images.items()}
    if not all(bool(predicted.isfinite().all()) for predicted in found.values()):
        raise DataInvalid(f"Snapshot {id} predicts values that are not finite.")
    return found


def _error(classes: Tensor, labels: Tensor) -> float:
    return int((classes != labels).sum()) / len(labels)


def _member(id: str, share: float, predicted: Tensor, labels: Tensor) -> MemberReport:
    found = scores(predicted, labels)
    return MemberReport(
        snapshot_id=id,
        share=share,
        accuracy=found.accuracy,
        error=found.error,
        negative_log_likelihood=found.negative_log_likelihood,
        brier=brier(predicted, labels),
        expected_calibration_error=calibration(predicted, labels).expected_calibration_error,
    )


def _diversity(members: Sequence[Tensor], labels: Tensor, chosen: Sequence[int]) -> Diversity:
    classes = torch.stack([members[place].argmax(1) for place in chosen])
    differing, q = diversity.disagreement(classes), diversity.q_statistic(classes == labels)
    return Diversity(
        chosen=tuple(chosen),
        disagreement=tuple(map(tuple, differing.tolist())),
        mean_disagreement=diversity.mean_of_pairs(differing),
        q_statistic=tuple(tuple(None if value != value else value for value in row) for row in q.tolist()),
        mean_q_statistic=diversity.mean_of_pairs(q),
    )


def _growth(size: int, added: int, prediction: Prediction, labels: Tensor) -> GrowthPoint:
    found = prediction.log_probabilities
    likelihood = None if found is None else scores(found, labels).negative_log_likelihood
    error = _error(prediction.classes, labels)
    return GrowthPoint(members=size, added=added, error=error, negative_log_likelihood=likelihood)


def _selection(found: Selected, rule: SelectBest | SelectGreedy) -> SelectionReport:
    return SelectionReport(on=rule.on, by=rule.by, path=found.path, scores=found.scores)
