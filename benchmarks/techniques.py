"""What each technique buys: `make bench-techniques`, or `python -m benchmarks.techniques [--quick]`.

A small network learns `mnist5k` from all 4,000 labels, from 500 and from 100, with each technique taken away from a
baseline or added to it (`benchmarks/variants.py`). Error and negative log-likelihood are those on the 1,000 validation
digits at the end, over the same seeds for all. Finished trainings are kept: what is interrupted goes on, and what is
done is not done again until the spec, the data or the trainer's code changes. `--page docs/techniques.md` puts the
results where that page keeps places for them.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import forest, page, progress, wording
from benchmarks.comparison import Comparison, Plan, compare
from benchmarks.figures import table
from benchmarks.trials import Book, Trial, code_version, conduct, measure
from benchmarks.variants import ALL, BASELINE, DEPTH, variants

INTERRUPTED = 130
WIDTH = 156
FIGURES = {
    "error, points": "error_difference",
    "negative log-likelihood, 0.01 nats": "likelihood_difference",
}


def full() -> Plan:
    """Every variant from five seeds: some 900 trainings, most of one to eight seconds."""
    return Plan(variants(12), (1, 2, 3, 4, 5), 12)


def quick() -> Plan:
    """To see that it works: some variants, two seeds, fewer epochs. Its intervals are wide."""
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
    book.conclude({"code": code_version(), "epochs": plan.epochs, "comparisons": [one.document() for one in found]})
    (folder / "techniques.svg").write_text(forest.draw(_panels(found)))
    for part in _report(plan, found):
        console.print(part)
    console.print(f"Written: {folder / 'techniques.json'} and {folder / 'techniques.svg'}.")
    if options.page:
        options.page.write_text(page.fill(options.page.read_text(), page.parts(plan, found)))
        console.print(f"Filled in: {options.page}.")
    if interrupted:
        console.print("Interrupted: what is shown is what was done. The same command goes on.")
        return INTERRUPTED
    return 0


def _run(trials: Sequence[Trial], book: Book, console: Console) -> None:
    """What the book does not hold yet."""
    left = [trial for trial in trials if book.find(trial) is None]
    console.print(f"{len(trials)} trainings, {len(trials) - len(left)} of them done before.")
    progress.follow(conduct(left, measure, book.add), len(left), console)


def _report(plan: Plan, found: Sequence[Comparison]) -> Iterator[Table | str]:
    yield wording.preface(len(plan.seeds), plan.epochs)
    for labels in sorted(ALL, reverse=True):
        here = [one for one in found if one.labels == labels and one.variant.group != DEPTH]
        if here:
            yield _table(labels, here)
            yield from wording.verdicts(here)
    if rows := wording.depth_rows(found):
        yield _depth_table(rows)
    yield from wording.caution(found, len(plan.seeds))


def _table(labels: int, found: Sequence[Comparison]) -> Table:
    made = table(f"{labels:,} labels", *wording.HEADERS)
    group = BASELINE
    for one in found:
        if one.variant.group != group:
            made.add_section()
            group = one.variant.group
        made.add_row(*wording.cells(one))
    return made


def _depth_table(rows: Sequence[tuple[str, ...]]) -> Table:
    made = table(wording.DEPTH_TITLE, *wording.DEPTH_HEADERS)
    for row in rows:
        made.add_row(*row)
    return made


def _panels(found: Sequence[Comparison]) -> dict[str, list[forest.Row]]:
    """Differences of error in points and of likelihood in hundredths of a nat, a panel for each number of labels."""
    panels: dict[str, list[forest.Row]] = {}
    for labels in sorted(ALL, reverse=True):
        for title, field in FIGURES.items():
            rows = [
                forest.Row(one.variant.name, 100 * it.mean, 100 * it.low, 100 * it.high, it.effect)
                for one in found
                if one.labels == labels and (it := getattr(one, field))
            ]
            if rows:
                panels[f"{labels:,} labels: difference of {title}"] = rows
    return panels


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.techniques", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="some variants, two seeds, fewer epochs: minutes")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where techniques.json and techniques.svg are; runs/techniques"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="also put the results into the places that this page keeps for them"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
