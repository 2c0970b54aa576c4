"""Results in a page of the documentation, each group of them where the page keeps a place for it.

A place is all between two comments, `<!-- results of GROUP: begin -->` and `<!-- results of GROUP: end -->`.
"""

import re
from collections.abc import Mapping, Sequence

from benchmarks import wording
from benchmarks.comparison import Comparison, Plan
from benchmarks.trials import code_version
from benchmarks.variants import DEPTH

ALL = "all"
"""The place of what is said of all figures."""

PLACE = re.compile(r"(<!-- results of ([a-z0-9 ]+): begin -->\n).*?(<!-- results of \2: end -->\n)", re.DOTALL)


def places(text: str) -> list[str]:
    """The groups that a page keeps places for."""
    return [place[2] for place in PLACE.finditer(text)]


def fill(text: str, parts: Mapping[str, str]) -> str:
    """`text` with those of its places replaced for which there is a part.

    Raises `ValueError` where a part has no place.
    """
    if missing := parts.keys() - set(places(text)):
        raise ValueError(f"The page has no place for the results of {', '.join(sorted(missing))}.")
    return PLACE.sub(lambda place: f"{place[1]}{parts[place[2]]}{place[3]}" if place[2] in parts else place[0], text)


def parts(plan: Plan, found: Sequence[Comparison]) -> dict[str, str]:
    """What stands in each place, as Markdown that begins and ends with an empty line."""
    groups: dict[str, list[Comparison]] = {}
    for one in found:
        groups.setdefault(one.variant.group, []).append(one)
    made = {group: paragraphs(_group(members)) for group, members in groups.items() if group != DEPTH}
    if rows := wording.depth_rows(found):
        made[DEPTH] = paragraphs(wording.DEPTH_TITLE + ":", table(wording.DEPTH_HEADERS, rows))
    seeds = len(plan.seeds)
    cautions = wording.caution(found, seeds)
    code = f"The trainer's code and torch and numpy had the hash `{code_version()[:16]}`."
    made[ALL] = paragraphs(wording.preface(seeds, plan.epochs), " ".join([*cautions, code]))
    return made


def _group(members: Sequence[Comparison]) -> str:
    """A row for each variant at each number of labels."""
    rows = [(name, f"{one.labels:,}", *rest) for one in members for name, *rest in [wording.cells(one)]]
    return table(("row", "labels", *wording.HEADERS[1:]), rows)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def paragraphs(*parts: str) -> str:
    """What fills a place: paragraphs between empty lines."""
    return "\n" + "\n\n".join(parts) + "\n\n"
