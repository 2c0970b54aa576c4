"""The documentation of techniques: complete, and what it shows can be written in a spec."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer.spec import TrainingSpec

TEXT = (Path(__file__).parents[1] / "docs" / "techniques.md").read_text()
SNIPPETS = [
    snippet
    for line in TEXT.splitlines()
    if (row := re.match(r"\| (`.*?`[^|]*) \|", line))
    for snippet in re.findall(r"`([a-z_]+: [^`]*|\{[^`]*)`", row[1])
]


def literals(schema: Any) -> Iterator[tuple[str, str]]:
    """Every value that a discriminating field of the spec can have, with the field."""
    if isinstance(schema, dict):
        for field in ("kind", "form"):
            chosen = schema.get("properties", {}).get(field, {})
            yield from ((field, value) for value in chosen.get("enum", [chosen.get("const")]) if value)
        for part in schema.values():
            yield from literals(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from literals(part)


@pytest.mark.parametrize(("field", "value"), sorted(set(literals(TrainingSpec.model_json_schema()))))
def test_every_choice_of_the_spec_is_explained(field: str, value: str) -> None:
    assert re.search(rf"\b{field}: {value}\b", TEXT)


def test_snippets_are_found() -> None:
    assert len(SNIPPETS) > 70


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_is_yaml_of_fields(snippet: str) -> None:
    assert isinstance(yaml.safe_load(snippet), dict)
