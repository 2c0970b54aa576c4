"""What may be scored together: which snapshots fit each other and a data set, and which splits fit each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainer.data import DataFacts
from trainer.errors import Mistake
from trainer.parsing import pointer
from trainer.spec.scoring import MOST_MEMBERS, ScoringSpec, SelectAll, SelectBest, SelectGreedy

HELD_OUT = "validation"


@dataclass(frozen=True)
class Candidate:
    """A snapshot that may become a member; `place` points to where the spec names it, or its job.

    Images have `shape` (C, H, W).
    """

    id: str
    place: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    dataset: str


def mistakes(spec: ScoringSpec, candidates: Sequence[Candidate], facts: DataFacts) -> Iterator[Mistake]:
    """What keeps the ensemble from being made as asked and scored on the data set with these facts."""
    if not candidates:
        yield Mistake("/members", "no_snapshots", "There is no snapshot among these; an ensemble needs one at least.")
        return
    if len(candidates) > MOST_MEMBERS:
        detail = f"These are {len(candidates)} snapshots; an ensemble is chosen from {MOST_MEMBERS} at most."
        yield Mistake("/members", "too_many_snapshots", f"{detail} Name fewer, or give members.last.")
    yield from _of_members(candidates)
    yield from _of_data(candidates[0], facts)
    yield from _of_selection(spec, len(candidates))
    yield from _of_votes(spec)
    yield from _of_splits(spec, facts)


def repeated(spec: ScoringSpec) -> Iterator[Mistake]:
    """Ids that stand twice among the members."""
    for place, id in enumerate(spec.members.ids):
        if id in spec.members.ids[:place]:
            detail = f"{id} stands here twice; name it once, and give select.weights where it is to count for more."
            yield Mistake(pointer("members", "ids", place), "repeated", detail)


def overlap(one: str, other: str) -> bool:
    """Whether two splits have images in common."""
    return one == other or (HELD_OUT in (one, other) and one.startswith(HELD_OUT) and other.startswith(HELD_OUT))


def _of_members(candidates: Sequence[Candidate]) -> Iterator[Mistake]:
    first = candidates[0]
    for other in candidates[1:]:
        if other.classes != first.classes:
            detail = f"{other.id} predicts {_listed(other.classes)}, and {first.id} {_listed(first.classes)}."
            yield Mistake(
                other.place, "classes_differ", f"{detail} Members predict the same classes in the same order."
            )
        if other.shape != first.shape:
            detail = f"{other.id} takes images of {_size(other.shape)}, and {first.id} of {_size(first.shape)}."
            yield Mistake(other.place, "shape_differs", f"{detail} Members take images of the same shape.")


def _of_data(first: Candidate, facts: DataFacts) -> Iterator[Mistake]:
    if facts.classes != first.classes:
        detail = f"{facts.name} has the classes {_listed(facts.classes)}; the members predict {_listed(first.classes)}."
        yield Mistake("/dataset", "classes_differ", f"{detail} Name a data set with their classes in their order.")
    if facts.shape != first.shape:
        detail = f"Images of {facts.name} are {_size(facts.shape)}; the members take {_size(first.shape)}."
        yield Mistake("/dataset", "shape_differs", f"{detail} Name a data set of that shape.")


def _of_selection(spec: ScoringSpec, count: int) -> Iterator[Mistake]:
    match spec.select:
        case SelectAll(weights=weights) if weights is not None and len(weights) != count:
            detail = f"There are {len(weights)} weights and {count} members; give one for each, in their order."
            yield Mistake("/select/weights", "weights_differ", detail)
        case SelectBest(count=wanted) if wanted > count:
            detail = f"The best {wanted} are asked for, and there are {count} to choose from."
            yield Mistake("/select/count", "too_few_members", detail)


def _of_votes(spec: ScoringSpec) -> Iterator[Mistake]:
    if spec.combine != "majority_vote":
        return
    if spec.temperature:
        detail = "Votes are no probabilities, and so there is nothing to scale; combine by mean, or leave this out."
        yield Mistake("/temperature", "no_probabilities", detail)
    if isinstance(spec.select, SelectGreedy):
        detail = "Greedy selection goes by sums of probabilities; combine by mean or geometric_mean."
        yield Mistake("/combine", "no_probabilities", detail)


def _of_splits(spec: ScoringSpec, facts: DataFacts) -> Iterator[Mistake]:
    if spec.scored_on == "test" and not facts.test_count:
        detail = f"{facts.name} has no test split; score on validation, or on one of its halves."
        yield Mistake("/score_on", "no_test_split", detail)
    for place, split in spec.fitted_on.items():
        if overlap(split, spec.scored_on):
            detail = f"The ensemble is scored on {spec.scored_on}, which has images of {split}."
            remedy = "What is fitted to images looks too good on them; take validation/a here and validation/b there."
            yield Mistake(place, "split_is_scored", f"{detail} {remedy}")
    if any("/" in split for split in (spec.scored_on, *spec.fitted_on.values())) and facts.validation_count < 2:
        detail = f"The validation split of {facts.name} has one image, which makes no two halves."
        yield Mistake("/score_on", "split_too_small", detail)


def _listed(classes: Sequence[str]) -> str:
    most = 5
    more = f" and {len(classes) - most} more" if len(classes) > most else ""
    return ", ".join(classes[:most]) + more


def _size(shape: tuple[int, int, int]) -> str:
    return "×".join(map(str, shape))
