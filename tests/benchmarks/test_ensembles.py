"""The benchmark of ensembles: its specs, its arithmetic, and what it keeps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import ensembles, page, treatments
from benchmarks.ensembles import Shelf, predict
from benchmarks.treatments import EPOCHS, LONG, MEMBERS, TREATMENTS, Treatment, first, greedily, last, spec
from benchmarks.trials import Trial, labelled
from trainer import data
from trainer.plan import check

LABELS = torch.tensor([0, 1] * 50)


def certain(classes: Tensor, probability: float) -> Tensor:
    """Log-probabilities (1, N, 2) of a model that gives its class so much."""
    found = torch.full((1, len(classes), 2), 1 - probability, dtype=torch.double)
    return found.scatter_(2, classes[None, :, None], probability).log()


def test_every_training_is_a_valid_spec_at_every_number_of_labels() -> None:
    for labels in EPOCHS:
        for shortened in (ensembles.FULL[1], ensembles.QUICK[1]):
            for name in {name for treatment in TREATMENTS for name in treatment.trainings}:
                check(spec(name, labels, 1, shortened), labelled("mnist5k", labels).facts)


def test_the_last_models_are_averaged_and_the_first_is_the_single_one() -> None:
    right, wrong = certain(LABELS, 0.9), certain(1 - LABELS, 0.6)
    predicted = [torch.cat([wrong, right])]

    assert first(predicted, LABELS).error == 1
    assert last(1)(predicted, LABELS).negative_log_likelihood == pytest.approx(-torch.tensor(0.9).log().item())
    assert last(2)(predicted, LABELS).negative_log_likelihood == pytest.approx(-torch.tensor(0.65).log().item())


def test_greedy_selection_scores_no_image_that_it_chose_by() -> None:
    """Two models, each right on one half: each is chosen by the half that it is right on, and scored on the other."""
    halves = treatments.splits.halves(LABELS, seed=0)
    models = []
    for half in halves:
        classes = 1 - LABELS
        classes[half] = LABELS[half]
        models.append(certain(classes, 0.9))

    assert greedily(models, LABELS).error == 1


def test_snapshots_predict_the_whole_validation_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EPOCHS, 100, MEMBERS)
    trial = Trial(treatments.CYCLIC, 100, 1, spec(treatments.CYCLIC, 100, 1))

    predicted = predict(trial)

    assert predicted is not None
    assert predicted.shape == (MEMBERS, len(data.load("mnist5k").validation.labels), 10)
    assert torch.allclose(predicted.exp().sum(2), torch.ones((), dtype=torch.double))
    assert predict(trial, stop=lambda: True) is None


def test_an_interrupted_benchmark_goes_on_and_compares_seeds_that_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conducted: list[tuple[int, int]] = []
    truth = torch.tensor(data.load("mnist5k").validation.labels)

    def conduct(left: list[Trial], measure: object, keep: Callable[[Trial, Tensor], None]) -> Any:
        for number, trial in enumerate(left, start=1):
            keep(trial, torch.full((MEMBERS, len(truth), 10), 0.1).log())
            conducted.append((trial.labels, trial.seed))
            yield trial
            if number == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(ensembles, "conduct", conduct)
    monkeypatch.setattr(ensembles, "FULL", ((1, 2), 1))
    monkeypatch.setattr(ensembles, "TREATMENTS", (Treatment("single", 1, (LONG,), first),))
    places = "".join(
        f"<!-- results of {labels} labels: begin -->\n<!-- results of {labels} labels: end -->\n" for labels in EPOCHS
    )
    (tmp_path / "page.md").write_text(places)
    options = ["--out", str(tmp_path / "kept"), "--page", str(tmp_path / "page.md")]

    codes = [ensembles.main(options) for _ in range(4)]

    assert codes == [130, 130, 130, 0]
    assert sorted(conducted) == sorted((labels, seed) for labels in EPOCHS for seed in (1, 2))
    written = (tmp_path / "page.md").read_text()
    assert "| single | 1 |" in written
    assert "over 2 seeds" in capsys.readouterr().out


def test_the_documentation_keeps_a_place_for_each_number_of_labels() -> None:
    assert page.places(Path("docs/ensembles.md").read_text()) == [f"{labels} labels" for labels in EPOCHS]


def test_predictions_are_kept_by_what_they_depend_on(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    one, other = (Trial(LONG, 100, seed, spec(LONG, 100, seed)) for seed in (1, 2))
    shelf.add(one, certain(LABELS, 0.9))

    kept = shelf.find(one)

    assert kept is not None
    assert torch.allclose(kept, certain(LABELS, 0.9))
    assert shelf.find(other) is None
