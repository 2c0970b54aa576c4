"""The documentation: techniques complete and as a spec has them, the tree as it is."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer.datasets.limits import Limits
from trainer.datasets.options import ImportOptions
from trainer.spec import TrainingSpec

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "techniques.md").read_text()
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


def test_the_readmes_tree_names_every_module() -> None:
    named = set(re.findall(r"\b\w+\.py\b", (ROOT / "README.md").read_text()))
    modules = {path.name for package in ("app", "trainer", "worker") for path in (ROOT / package).glob("*.py")}

    assert modules - named == {"__init__.py"}


def test_the_limits_of_an_import_are_told_with_their_defaults() -> None:
    text = (ROOT / "docs" / "datasets.md").read_text()

    for limit in fields(Limits):
        assert f"| `{limit.name}` | {limit.default} |" in text


@pytest.mark.parametrize("option", ImportOptions.model_fields)
def test_every_option_of_an_import_is_told(option: str) -> None:
    assert f"`{option}" in (ROOT / "docs" / "datasets.md").read_text()


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_what_a_page_links_to_is_there(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text())
    files = [link for link in links if not link.startswith("http")]

    assert [file for file in files if not (ROOT / page).parent.joinpath(file).exists()] == []
