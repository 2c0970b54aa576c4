"""Variants beside what they are compared with, from the trainings that are done."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from benchmarks.paired import Difference, Spread, paired_difference, spread
from benchmarks.trials import Book, Outcome, Trial
from benchmarks.variants import Variant


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

    def document(self) -> dict[str, object]:
        """For JSON: the variant by its name, and what each difference comes to."""
        variant = self.variant
        document = asdict(self) | {"variant": variant.name, "group": variant.group, "against": variant.against}
        for field in ("error_difference", "likelihood_difference"):
            if found := getattr(self, field):
                document[field]["effect"] = found.effect
        return document


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
