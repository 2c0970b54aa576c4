"""The benchmark of techniques: its specs, its subsets, and what it keeps."""

from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import forest, page, techniques, trials
from benchmarks.comparison import Plan, compare
from benchmarks.techniques import full, quick
from benchmarks.trials import Book, Outcome, Trial, labelled, measure
from benchmarks.variants import BASELINE, Variant, variants
from trainer import data
from trainer.plan import check

DONE = Outcome(error=0.1, negative_log_likelihood=0.3, diverged=False, seconds=1.0)
BOTH = (
    Variant(BASELINE, BASELINE, {}, against=None, labels=(100,)),
    Variant("dropout", "network", {"network": {"kind": "mlp", "dropout": {"drop": 0.5}}}, labels=(100,)),
)
PLAN = Plan(BOTH, seeds=(1, 2), epochs=1)


@pytest.mark.parametrize("plan", [full, quick])
def test_every_variant_is_a_valid_spec_at_every_number_of_labels(plan: Callable[[], Plan]) -> None:
    for trial in plan().trials():
        if trial.seed == 1:
            check(trial.spec, labelled("mnist5k", trial.labels).facts)


def test_every_variant_has_a_name_and_a_spec_of_its_own_and_is_compared_with_one_that_there_is() -> None:
    found = variants(20)
    names = [one.name for one in found]
    specs = {one.spec(4000, 20, 1).sha256 for one in found}

    assert len(set(names)) == len(specs) == len(found)
    assert {one.against for one in found} - {None} <= set(names)


def test_few_labels_are_the_first_of_each_class_and_validation_stays_whole() -> None:
    whole, few = data.load("mnist5k"), labelled("mnist5k", 100)

    assert np.bincount(few.train.labels).tolist() == [10] * 10
    for digit in range(10):
        expected = whole.train.images[whole.train.labels == digit][:10]
        assert np.array_equal(few.train.images[few.train.labels == digit], expected)
    assert np.array_equal(few.validation.images, whole.validation.images)
    assert labelled("mnist5k", 4000).sha256 == whole.sha256


def test_an_interrupted_benchmark_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "techniques.json"
    conducted: list[tuple[str, int]] = []

    def conduct(left: list[Trial], measure: object, keep: Callable[[Trial, Outcome], None]) -> Any:
        for number, trial in enumerate(left, start=1):
            keep(trial, DONE)
            conducted.append((trial.variant, trial.seed))
            yield trial
            if number == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(techniques, "conduct", conduct)
    monkeypatch.setattr(techniques, "full", lambda: PLAN)

    codes = [techniques.main(["--out", str(tmp_path)]) for _ in range(2)]

    assert codes == [130, 0]
    assert conducted == [(BASELINE, 1), ("dropout", 1), (BASELINE, 2), ("dropout", 2)]
    assert compare(PLAN, Book(path))[1].error.count == 2
    assert (tmp_path / "techniques.svg").exists()


def test_another_seed_spec_data_set_or_code_is_another_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Trial("x", 100, 1, BOTH[0].spec(100, 1, 1))
    others = [
        Trial("x", 100, 2, BOTH[0].spec(100, 1, 2)),
        Trial("x", 100, 1, BOTH[0].spec(100, 2, 1)),
        Trial("x", 500, 1, BOTH[0].spec(100, 1, 1)),
    ]
    keys = {one.key for one in (first, *others)}
    monkeypatch.setattr(trials, "code_version", lambda: "f" * 64)

    assert len(keys | {first.key}) == 5


def test_differences_are_of_the_seeds_that_both_are_done_with(tmp_path: Path) -> None:
    book = Book(tmp_path / "techniques.json")
    errors = {(BASELINE, 1): 0.2, (BASELINE, 2): 0.3, ("dropout", 1): 0.1, ("dropout", 2): 0.2}
    for trial in PLAN.trials():
        book.add(trial, Outcome(errors[trial.variant, trial.seed], 1.0, diverged=False, seconds=1.0))

    baseline, dropout = compare(PLAN, book)

    assert baseline.error_difference is None
    assert dropout.error_difference is not None
    assert dropout.error_difference.mean == pytest.approx(-0.1)
    assert dropout.error_difference.effect == "better"
    assert dropout.likelihood_difference is not None
    assert dropout.likelihood_difference.effect == "nil"


def test_results_are_put_where_the_page_keeps_a_place_for_them_and_nothing_else_changes(tmp_path: Path) -> None:
    book = Book(tmp_path / "techniques.json")
    errors = {(BASELINE, 1): 0.2, (BASELINE, 2): 0.3, ("dropout", 1): 0.1, ("dropout", 2): 0.3}
    for trial in PLAN.trials():
        book.add(trial, Outcome(errors[trial.variant, trial.seed], 1.0, diverged=False, seconds=1.0))
    begin, end = "<!-- results of network: begin -->\n", "<!-- results of network: end -->\n"
    others = "".join(
        f"<!-- results of {name}: begin -->\n<!-- results of {name}: end -->\n" for name in ("baseline", "all")
    )
    parts = page.parts(PLAN, compare(PLAN, book))

    once = page.fill(f"before\n{begin}old\n{end}after\n{others}", parts)

    assert once.startswith(f"before\n{begin}{parts['network']}{end}after\n")
    assert "| dropout | 100 | baseline | 20.00 ± 14.14 | -5.00 (-68.53 to +58.53) | nil |" in once
    assert page.fill(once, parts) == once
    with pytest.raises(ValueError, match="no place for the results of baseline"):
        page.fill("", {BASELINE: ""})


def test_the_documentation_keeps_a_place_for_the_results_of_each_group() -> None:
    kept = page.places(Path("docs/techniques.md").read_text())

    assert sorted(kept) == sorted({one.group for one in variants(20)} | {page.ALL})


def test_a_training_is_measured_by_its_ensemble_where_it_has_one() -> None:
    cycles = {"schedule": {"kind": "snapshot_cycles", "learning_rate": 0.05, "cycles": 2}}
    network = {"network": {"kind": "mlp", "hidden": [16]}}
    alone = Variant("alone", "", {**network, **cycles}).spec(100, 2, 1)
    averaged = Variant("both", "", {**network, **cycles, "ensemble": {"kind": "snapshots", "last": 2}}).spec(100, 2, 1)

    last, ensemble = (measure(Trial("x", 100, 1, spec)) for spec in (alone, averaged))

    assert last is not None
    assert ensemble is not None
    assert last.negative_log_likelihood != ensemble.negative_log_likelihood


def test_a_training_that_diverges_counts_as_guessing() -> None:
    changes = {
        "network": {"kind": "mlp", "hidden": [64] * 6, "initialization": {"kind": "small_random", "std": 5.0}},
        "schedule": {"kind": "constant", "learning_rate": 100.0},
    }

    found = measure(Trial("x", 100, 1, Variant("wild", "", changes).spec(100, 2, 1)))

    assert found is not None
    assert found.diverged
    assert (found.error, found.negative_log_likelihood) == (pytest.approx(0.9), pytest.approx(log(10)))


def test_a_stopped_training_has_no_outcome() -> None:
    assert measure(Trial("x", 100, 1, BOTH[1].spec(100, 1, 1)), stop=lambda: True) is None


def test_the_figure_has_panels_of_errors_and_of_likelihoods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Book(tmp_path / "techniques.json")
    for trial in PLAN.trials():
        book.add(trial, DONE)
    monkeypatch.setattr(techniques, "full", lambda: PLAN)

    techniques.main(["--out", str(tmp_path)])

    figure = ElementTree.parse(tmp_path / "techniques.svg")
    titles = [text.text for text in figure.iterfind("{*}text") if "font-weight" in text.attrib]
    assert titles == [
        "100 labels: difference of error, points",
        "100 labels: difference of negative log-likelihood, 0.01 nats",
    ]


def test_the_figure_shows_each_difference_on_its_side_of_zero() -> None:
    rows = [forest.Row("less & better", -3, -4, -2, "better"), forest.Row("worse", 2, 1, 30, "worse")]

    root = ElementTree.fromstring(forest.draw({"100 labels": rows}))

    better, worse = (float(dot.attrib["cx"]) for dot in root.iterfind("{*}circle"))
    zero = forest.NAME_WIDTH + forest.PANEL_WIDTH / 2
    assert better < zero < worse
    assert "less & better" in [text.text for text in root.iterfind("{*}text")]
