"""Comparisons in words and figures: errors in %, their differences in points, likelihoods in nats."""

from collections.abc import Iterator, Sequence

from benchmarks.comparison import Comparison
from benchmarks.paired import Difference, Effect, Spread
from benchmarks.variants import BASELINE, DEEP, FULL, STARTS

FEWEST_SEEDS = 5
HEADERS = ("", "than", "error, %", "difference, points", "", "NLL, nats", "difference, nats", "")
DEPTH_TITLE = f"{len(DEEP['hidden'])} hidden layers, 4,000 labels: error, %"
DEPTH_HEADERS = ("", "without batch norm", "with batch norm", "difference, points", "")
SENTENCES: dict[Effect, str] = {
    "better": "Lower {}",
    "worse": "Higher {} (the effect is negative)",
    "nil": "No effect on {} seen",
}


def cells(one: Comparison) -> tuple[str, ...]:
    """What stands below `HEADERS`."""
    return (
        one.variant.name,
        one.variant.against or "",
        error(one),
        *difference(one.error_difference, 100, 2),
        plus_minus(one.negative_log_likelihood, 1, 3),
        *difference(one.likelihood_difference, 1, 3),
    )


def depth_rows(found: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """What stands below `DEPTH_HEADERS`: a perceptron of ten hidden layers, a row for each start that is done."""
    done = {one.variant.name: one for one in found if one.labels in FULL}
    return [
        (start, error(off), error(on), *difference(on.error_difference, 100, 2))
        for start in STARTS
        if (off := done.get(f"deep, {start}")) and (on := done.get(f"deep, {start}, batch norm"))
    ]


def error(one: Comparison) -> str:
    """Mean ± standard deviation, and how many of the trainings diverged."""
    diverged = f", {one.diverged} of {one.error.count} diverged" if one.diverged else ""
    return plus_minus(one.error, 100, 2) + diverged


def difference(found: Difference | None, unit: float, digits: int) -> tuple[str, str]:
    """The difference with its interval, and what it comes to."""
    if found is None:
        return "", ""
    mean, low, high = (f"{value * unit:+.{digits}f}" for value in (found.mean, found.low, found.high))
    return f"{mean} ({low} to {high})", found.effect


def verdicts(found: Sequence[Comparison]) -> Iterator[str]:
    """Plain sentences: what helps, what does nothing that can be seen, what harms."""
    for name, field in (("error", "error_difference"), ("NLL", "likelihood_difference")):
        for effect, sentence in SENTENCES.items():
            members = [_pair(one) for one in found if (it := getattr(one, field)) and it.effect == effect]
            if members:
                yield f"{sentence.format(name)}: {'; '.join(members)}."


def preface(seeds: int, epochs: int) -> str:
    """How the figures came about."""
    return (
        f"Mean ± standard deviation over {seeds} seeds, {epochs} epochs, 1,000 validation digits. Differences are to "
        "what stands beside them, on the same seeds, with their 95% confidence interval (Student's t)."
    )


def caution(found: Sequence[Comparison], seeds: int) -> Iterator[str]:
    """How far the figures can be trusted."""
    intervals = sum(one.error_difference is not None for one in found) * 2
    yield (
        f"Of {intervals} intervals of 95% one in twenty would leave 0 out even where nothing had any effect. They tell "
        "how results vary with the seed, on one set of labels and one validation split."
    )
    if seeds < FEWEST_SEEDS:
        yield f"{seeds} seeds are too few to judge by: two equal differences leave an interval without width."


def _pair(one: Comparison) -> str:
    against = one.variant.against
    return one.variant.name if against == BASELINE else f"{one.variant.name} (than {against})"


def plus_minus(found: Spread, unit: float, digits: int) -> str:
    """Mean ± standard deviation."""
    mean = f"{found.mean * unit:.{digits}f}"
    return mean if found.deviation is None else f"{mean} ± {found.deviation * unit:.{digits}f}"
