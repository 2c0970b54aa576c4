"""Spec files for the command lines: YAML or JSON in, the same document as JSON out, and the line of any mistake."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from trainer.errors import Mistake, SpecInvalid
from trainer.parsing import parse
from trainer.spec import TrainingSpec

LARGEST_BYTES = 1024 * 1024


class Unreadable(SpecInvalid):
    """Text that is neither YAML nor JSON; `line`, counted from 1, where that can be told."""

    def __init__(self, detail: str, line: int | None = None) -> None:
        super().__init__([Mistake("", "unreadable_file", detail)])
        self.line = line


class _Loader(yaml.SafeLoader):
    """YAML's plain values as JSON has them: `5e-4` is a number, a date is a string, yes and no are words."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are strings and differ."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (STRING, NUMBER, INTEGER, BOOLEAN):
                raise yaml.constructor.ConstructorError(None, None, "keys must be plain words", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


STRING, NUMBER, INTEGER, BOOLEAN, NULL = (
    f"tag:yaml.org,2002:{word}" for word in ("str", "float", "int", "bool", "null")
)
EXPONENT = "[eE][-+]?[0-9]+"
_Loader.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    (BOOLEAN, r"true|false", "tf"),
    (NULL, r"null|~|", ["n", "~", ""]),
    (INTEGER, r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (NUMBER, rf"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)({EXPONENT})?|[-+]?[0-9]+{EXPONENT}|[-+]?\.inf|\.nan", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(tag, re.compile(f"^(?:{pattern})$"), list(first))


class _LoaderWithoutAliases(_Loader):
    """A few lines of aliases of aliases would become gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """A node that stands where it is used."""
        if self.check_event(yaml.AliasEvent):
            mark = self.get_mark()
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed here", mark)
        return super().compose_node(parent, index)


@dataclass(frozen=True)
class Document:
    """A spec file: `json` is what the API takes; `value` the same as Python values."""

    path: Path | None
    text: str
    value: Any
    json: bytes

    def spec(self) -> TrainingSpec:
        """The spec in it. Raises `SpecInvalid`."""
        return parse(self.json)

    def line(self, at: str) -> int:
        """The line, counted from 1, on which the value at a JSON Pointer begins, or the nearest thing around it."""
        node = self._root
        line = 1
        for part in at.split("/")[1:]:
            found = _child(node, part.replace("~1", "/").replace("~0", "~"))
            if found is None:
                break
            line, node = found
        return line

    @cached_property
    def _root(self) -> yaml.Node | None:
        root: yaml.Node | None = yaml.compose(self.text, _Loader)
        return root

    def complaint(self, mistake: Mistake) -> str:
        """`file:line: /pointer: sentence`, as compilers write it."""
        where = f"{mistake.pointer}: " if mistake.pointer else ""
        return f"{self.path}:{self.line(mistake.pointer)}: {where}{mistake.detail}"


def read(path: Path) -> Document:
    """A YAML or JSON file. Raises `OSError`, or `SpecInvalid` where it is neither."""
    with path.open("rb") as file:
        data = file.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise Unreadable(f"{path} is larger than {LARGEST_BYTES // 1024} KiB; a spec never is.")
    return _load(data, path, _Loader)


def load(data: bytes) -> Document:
    """The same from elsewhere, in which nothing may stand for something else. Raises `Unreadable`."""
    return _load(data, None, _LoaderWithoutAliases)


def _load(data: bytes, path: Path | None, loader: type[_Loader]) -> Document:
    name = path or "The text"
    try:
        text = data.decode()
        value = yaml.load(text, loader)
        return Document(path, text, value, json.dumps(value, allow_nan=False).encode())
    except UnicodeDecodeError:
        raise Unreadable(f"{name} is not UTF-8 text.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(filter(None, (error.context, error.problem)))
        if mark is None:
            raise Unreadable(f"{name}: {what}.") from None
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if path else f"Line {mark.line + 1}"
        raise Unreadable(f"{where}: {what}.", mark.line + 1) from None
    except (yaml.YAMLError, RecursionError):
        raise Unreadable(f"{name} is neither YAML nor JSON.") from None
    except ValueError:
        raise Unreadable(f"{name} holds NaN, an infinity or a value that contains itself.") from None


def _child(node: yaml.Node | None, part: str) -> tuple[int, yaml.Node] | None:
    match node:
        case yaml.MappingNode():
            for key, value in node.value:
                if key.value == part:
                    return key.start_mark.line + 1, value
        case yaml.SequenceNode() if part.isdigit() and int(part) < len(node.value):
            item = node.value[int(part)]
            return item.start_mark.line + 1, item
    return None
