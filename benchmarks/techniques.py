"""What each technique buys: `make bench-techniques`, or `python -m benchmarks.techniques [--quick]`.

A small network learns `mnist5k` from all 4,000 labels, from 500 and from 100, with each technique taken away from a
baseline or added to it (`benchmarks/variants.py`). Error and negative log-likelihood are those on the 1,000 validation
digits at the end, over the same seeds for all. Finished trainings are kept: what is interrupted goes on, and what is
done is not done again until the spec, the data or the trainer's code changes.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks import forest
from benchmarks.figures import table
from benchmarks.paired import Difference, Spread, paired_difference, spread
from benchmarks.trials import Book, Outcome, Trial, code_version, conduct
from benchmarks.variants import ALL, BASELINE, DEEP, DEPTH, STARTS, Variant, variants

INTERRUPTED = 130
WIDTH = 132
FEWEST_SEEDS = 5


@dataclass(frozen=True)
class Plan:
    """What is run: variants, seeds and epochs of each training."""

    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    epochs: int

    def trials(self) -> Iterator[Trial]:
        """Every training, seed by seed, so that there is something of each variant early. Raises `SpecInvalid`."""
        for seed in self.seeds:
            for variant in self.variants:
                for labels in variant.labels:
                    yield Trial(variant.name, labels, seed, variant.spec(labels, self.epochs, seed))


@dataclass(frozen=True)
class Comparison:
    """A variant at a number of labels, beside what it is compared with on the seeds that both are done with.

    Differences are None where that are fewer than two seeds.
    """

    variant: Variant
    labels: int
    error: Spread
    negative_log_likelihood: Spread
    diverged: int
    error_difference: Difference | None
    likelihood_difference: Difference | None


def full() -> Plan:
    """Every variant from five seeds: some 540 trainings of two to twelve seconds."""
    return Plan(variants(24), (1, 2, 3, 4, 5), 24)


def quick() -> Plan:
    """To see that it works: some variants, two seeds, a third of the epochs. Its intervals are wide."""
    return Plan(tuple(one for one in variants(8) if one.quick), (1, 2), 8)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not done yet, then show all that is; 130 when interrupted."""
    options = _parser().parse_args(arguments)
    plan = quick() if options.quick else full()
    folder = options.out or Path("runs") / ("techniques-quick" if options.quick else "techniques")
    book = Book(folder / "techniques.json")
    console = Console(width=WIDTH)
    try:
        _run(list(plan.trials()), book, console)
        interrupted = False
    except KeyboardInterrupt:
        interrupted = True
    found = compare(plan, book)
    book.conclude({"code": code_version(), "epochs": plan.epochs, "comparisons": [_plain(one) for one in found]})
    (folder / "techniques.svg").write_text(forest.draw(_panels(found)))
    for part in _report(plan, found):
        console.print(part)
    console.print(f"Written: {folder / 'techniques.json'} and {folder / 'techniques.svg'}.")
    if interrupted:
        console.print("Interrupted: what is shown is what was done. The same command goes on.")
        return INTERRUPTED
    return 0


def compare(plan: Plan, book: Book) -> list[Comparison]:
    """What is known of each variant at each number of labels; those without any finished training are left out."""
    done: dict[tuple[str | None, int], dict[int, Outcome]] = {}
    for trial in plan.trials():
        if outcome := book.find(trial):
            done.setdefault((trial.variant, trial.labels), {})[trial.seed] = outcome
    return [
        _comparison(variant, labels, done[variant.name, labels], done.get((variant.against, labels), {}))
        for variant in plan.variants
        for labels in variant.labels
        if (variant.name, labels) in done
    ]


def _comparison(variant: Variant, labels: int, own: dict[int, Outcome], other: dict[int, Outcome]) -> Comparison:
    def of(field: str) -> tuple[Spread, Difference | None]:
        here, there = ({seed: getattr(one, field) for seed, one in side.items()} for side in (own, other))
        both = sorted(here.keys() & there.keys())
        pairs = [here[seed] for seed in both], [there[seed] for seed in both]
        return spread(list(here.values())), paired_difference(*pairs) if len(both) > 1 else None

    error, error_difference = of("error")
    likelihood, likelihood_difference = of("negative_log_likelihood")
    diverged = sum(outcome.diverged for outcome in own.values())
    return Comparison(variant, labels, error, likelihood, diverged, error_difference, likelihood_difference)


def _run(trials: Sequence[Trial], book: Book, console: Console) -> None:
    """What the book does not hold yet, with progress and time left."""
    left = [trial for trial in trials if book.find(trial) is None]
    console.print(f"{len(trials)} trainings, {len(trials) - len(left)} of them done before.")
    columns = (
        TextColumn("{task.description:<44}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # Trainings take from one second to twelve: the time left follows from the last minutes, not seconds.
    with Progress(*columns, console=console, speed_estimate_period=300) as progress:
        task = progress.add_task("", total=len(left))
        for trial in conduct(left, book):
            progress.update(task, advance=1, description=f"{trial.variant}, {trial.labels} labels, seed {trial.seed}")


def _report(plan: Plan, found: Sequence[Comparison]) -> Iterator[Table | str]:
    yield f"Mean ± standard deviation over {len(plan.seeds)} seeds, {plan.epochs} epochs, 1,000 validation digits."
    yield "Differences are to the baseline on the same seeds, with their 95% confidence interval (Student's t)."
    for labels in sorted(ALL, reverse=True):
        here = [one for one in found if one.labels == labels and one.variant.group != DEPTH]
        if here:
            yield _table(labels, here)
            yield from _verdicts(here)
    if deep := {one.variant.name: one for one in found if one.variant.group == DEPTH}:
        yield _depth_table(deep)
    intervals = sum(one.error_difference is not None for one in found) * 2
    yield (
        f"Of {intervals} intervals of 95% one in twenty would leave 0 out even where nothing had any effect. They tell "
        "how results vary with the seed, on one set of labels and one validation split."
    )
    if len(plan.seeds) < FEWEST_SEEDS:
        yield f"{len(plan.seeds)} seeds are too few to judge by: two equal differences leave an interval without width."


def _table(labels: int, found: Sequence[Comparison]) -> Table:
    made = table(f"{labels:,} labels", "", "error, %", "difference, points", "", "NLL, nats", "difference, nats", "")
    group = BASELINE
    for one in found:
        if one.variant.group != group:
            made.add_section()
            group = one.variant.group
        made.add_row(
            one.variant.name,
            _error(one),
            *_difference(one.error_difference, 100, 2),
            _spread(one.negative_log_likelihood, 1, 3),
            *_difference(one.likelihood_difference, 1, 3),
        )
    return made


def _depth_table(found: dict[str, Comparison]) -> Table:
    """Starts down, batch norm off and on across: the error of a perceptron of ten hidden layers."""
    title = f"{len(DEEP['hidden'])} hidden layers, 4,000 labels: error, %"
    made = table(title, "", "without batch norm", "with batch norm", "difference, points", "")
    for start in STARTS:
        off, on = found.get(f"deep, {start}"), found.get(f"deep, {start}, batch norm")
        errors = (_error(one) if one else "" for one in (off, on))
        made.add_row(start, *errors, *_difference(on.error_difference if on else None, 100, 2))
    return made


def _verdicts(found: Sequence[Comparison]) -> Iterator[str]:
    """Plain sentences: what helps, what does nothing that can be seen, what harms."""
    sentences = {"better": "Lower {}", "worse": "Higher {} (the effect is negative)", "nil": "No effect on {} seen"}
    for name, field in (("error", "error_difference"), ("NLL", "likelihood_difference")):
        for effect, sentence in sentences.items():
            members = [one.variant.name for one in found if (it := getattr(one, field)) and it.effect == effect]
            if members:
                yield f"{sentence.format(name)}: {', '.join(members)}."


def _error(one: Comparison) -> str:
    diverged = f", {one.diverged} of {one.error.count} diverged" if one.diverged else ""
    return _spread(one.error, 100, 2) + diverged


def _spread(found: Spread, unit: float, digits: int) -> str:
    mean = f"{found.mean * unit:.{digits}f}"
    return mean if found.deviation is None else f"{mean} ± {found.deviation * unit:.{digits}f}"


def _difference(found: Difference | None, unit: float, digits: int) -> tuple[str, str]:
    """The difference with its interval, and what it comes to."""
    if found is None:
        return "", ""
    mean, low, high = (f"{value * unit:+.{digits}f}" for value in (found.mean, found.low, found.high))
    return f"{mean} ({low} to {high})", found.effect


def _plain(one: Comparison) -> dict[str, object]:
    """For JSON: the variant by its name, and what each difference comes to."""
    document = asdict(one) | {"variant": one.variant.name, "group": one.variant.group, "against": one.variant.against}
    for field in ("error_difference", "likelihood_difference"):
        if found := getattr(one, field):
            document[field]["effect"] = found.effect
    return document


def _panels(found: Sequence[Comparison]) -> dict[str, list[forest.Row]]:
    """Differences of error in points, a panel for each number of labels."""
    panels: dict[str, list[forest.Row]] = {}
    for labels in sorted(ALL, reverse=True):
        rows = [
            forest.Row(one.variant.name, 100 * it.mean, 100 * it.low, 100 * it.high, it.effect)
            for one in found
            if one.labels == labels and (it := one.error_difference)
        ]
        if rows:
            panels[f"{labels:,} labels: difference of error, points"] = rows
    return panels


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.techniques", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="some variants, two seeds, fewer epochs: minutes")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where techniques.json and techniques.svg are; runs/techniques"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
