"""Reads a spec from JSON and says, of everything that is wrong, where it stands and what would be right.

Strict on purpose: no key twice, no NaN, no number for a string, nothing deeper than a spec can be. Mistakes
point into the document as the user wrote it (RFC 6901), in our own words.
"""

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trainer.errors import Mistake, SpecInvalid
from trainer.spec import TrainingSpec
from trainer.spec.part import Part

DEEPEST_NESTING = 32
MOST_MISTAKES = 100
"""More are not told at once: a megabyte of unknown keys would be an answer of many, and take a minute to write."""

P = TypeVar("P", bound=Part)

Location = Sequence[int | str]


@dataclass(frozen=True)
class Document:
    """What a user has written, and the kind of spec that it is to be."""

    value: Any
    kind: type[Part]


def parse(document: bytes | str) -> TrainingSpec:
    """The training spec in a JSON document, as `parse_as`."""
    return parse_as(TrainingSpec, document)


def parse_as(kind: type[P], document: bytes | str) -> P:
    """The spec in a JSON document. Raises `SpecInvalid` with what can be told at once, a hundred mistakes at most."""
    text, value = load(document)
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        read, first = Document(value, kind), _own(error.errors()[:MOST_MISTAKES])
        raise SpecInvalid([_mistake(read, details) for details in first]) from None


def load(document: bytes | str) -> tuple[str, Any]:
    """The text of a JSON document and its value. Raises `SpecInvalid` for what no document of ours has."""
    text = _decode(document)
    _check_depth(text)
    value = _load(text)
    if mistakes := list(islice(_unstorable(value, ""), MOST_MISTAKES)):
        raise SpecInvalid(mistakes)
    return text, value


def pointer(*parts: int | str) -> str:
    """An RFC 6901 JSON Pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def shorten(value: object) -> str:
    """A value as JSON, cut to what fits into a sentence."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


class _Refused(ValueError):
    pass


def _decode(document: bytes | str) -> str:
    if isinstance(document, str):
        return document
    try:
        return document.decode()
    except UnicodeDecodeError as error:
        raise _invalid(f"This is not UTF-8: the byte at offset {error.start} belongs to no character.") from None


def _load(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise _invalid(f"This is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    except _Refused as error:
        raise _invalid(str(error)) from None
    except ValueError:
        raise _invalid("A number has too many digits.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise _Refused(f"The key {shorten(twice)} stands twice in one object; keep one of them.")
    return value


def _no_constant(word: str) -> None:
    raise _Refused(f"{word} is not a number in JSON; give a finite one.")


def _check_depth(text: str) -> None:
    """Refuse deep nesting before a recursive parser meets it."""
    depth = 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        if depth > DEEPEST_NESTING:
            raise _invalid(f"This is nested deeper than {DEEPEST_NESTING} levels; a spec never is.")


def _unstorable(value: Any, at: str) -> Iterator[Mistake]:
    """Strings that no database and no terminal should be given: control characters and halves of characters."""
    match value:
        case str() if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value):
            yield Mistake(at, "control_character", "Control characters are not allowed here; use plain text.")
        case dict():
            for key, item in value.items():
                yield from _unstorable(key, at)
                yield from _unstorable(item, at + pointer(key))
        case list():
            for index, item in enumerate(value):
                yield from _unstorable(item, at + pointer(index))


def _invalid(detail: str) -> SpecInvalid:
    return SpecInvalid([Mistake("", "invalid_json", detail)])


def _own(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Without lists that pydantic finds too short for want of the items that it refuses."""

    def is_echo(one: ErrorDetails) -> bool:
        length = len(one["loc"])
        within = (other for other in errors if len(other["loc"]) > length and other["loc"][:length] == one["loc"])
        return one["type"] == "too_short" and any(within)

    return [one for one in errors if not is_echo(one)]


def _mistake(document: Document, details: ErrorDetails) -> Mistake:
    location = _path(document, details["loc"])
    context = details.get("ctx", {})
    given = shorten(details["input"])
    code = details["type"]
    match code:
        case "missing":
            *parent, key = location
            field = _model_at(document, parent).model_fields[str(key)]
            return Mistake(pointer(*location), code, f"`{key}` is missing. {field.description}")
        case "extra_forbidden":
            return Mistake(pointer(*location), "unknown_key", _unknown_key(document, location))
        case "union_tag_not_found":
            tag = context["discriminator"].strip("'")
            kinds = _kinds(document, location, tag)
            return Mistake(pointer(*location, tag), "missing", f"`{tag}` is missing; it is one of {kinds}.")
        case "union_tag_invalid":
            tag = context["discriminator"].strip("'")
            known = [word.strip(" '") for word in context["expected_tags"].split(",")]
            sentence = f"There is no {tag} {shorten(context['tag'])}{_nearest(context['tag'], known)}"
            remedy = f"It is one of {', '.join(known)}.{_said_of_tag(document, location, tag)}"
            return Mistake(pointer(*location, tag), f"unknown_{tag}", f"{sentence} {remedy}")
        case "literal_error":
            words = context["expected"].replace("'", "")
            return Mistake(pointer(*location), "unknown_choice", f"This must be {words}; it is {given}.")
    demand = f"{_demand(code, context, details['msg'])}; it is {given}."
    return Mistake(pointer(*location), code, f"{demand}{_said_of_field(document, location)}")


def _demand(code: str, context: dict[str, Any], otherwise: str) -> str:
    match code:
        case "greater_than":
            return f"This must be greater than {context['gt']}"
        case "greater_than_equal":
            return f"This must be at least {context['ge']}"
        case "less_than":
            return f"This must be less than {context['lt']}"
        case "less_than_equal":
            return f"This must be at most {context['le']}"
        case "finite_number":
            return "This must be a finite number"
        case "int_type" | "int_from_float" | "int_parsing_size":
            return "This must be an integer"
        case "float_type":
            return "This must be a number"
        case "string_type":
            return "This must be a string"
        case "bool_type":
            return "This must be true or false"
        case "tuple_type":
            return "This must be a list"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "This must be an object"
        case "string_too_short":
            return f"This must have at least {context['min_length']} characters"
        case "string_too_long":
            return f"This must have at most {context['max_length']} characters"
        case "too_short":
            return f"This must have at least {context['min_length']} items"
        case "too_long":
            return f"This must have at most {context['max_length']} items"
        case "string_pattern_mismatch":
            return f"This must match the pattern {context['pattern']}"
    return otherwise


def _unknown_key(document: Document, location: Location) -> str:
    *parent, key = location
    model = _model_at(document, parent)
    known = sorted(model.model_fields)
    sentence = f"There is no key {shorten(key)} here"
    if issubclass(model, Part) and str(key) in model.elsewhere:
        return f"{sentence}. {model.elsewhere[str(key)]}"
    return f"{sentence}{_nearest(str(key), known)} Known keys: {', '.join(known)}."


def _said_of_field(document: Document, location: Location) -> str:
    """What the field is whose value, or a part of it, stands at `location`: its description, after a space."""
    for end in range(len(location), 0, -1):
        *parent, key = location[:end]
        models = _models_at(document, parent) if isinstance(key, str) else []
        if models and key in models[0].model_fields:
            return f" {models[0].model_fields[key].description or ''}".rstrip()
    return ""


def _said_of_tag(document: Document, location: Location, tag: str) -> str:
    """What is said of the tag itself by the models of the union at `location`."""
    fields = (model.model_fields[tag] for model in _models_at(document, location))
    return "".join(f" {field.description}" for field in fields if field.description)


def _nearest(word: str, known: Sequence[str]) -> str:
    begun = [one for one in known if one.startswith(f"{word}_")]
    match begun[:1] or difflib.get_close_matches(word, known, n=1):
        case [nearest]:
            return f"; did you mean {nearest}?"
        case _:
            return "."


def _path(document: Document, location: Location) -> list[int | str]:
    """pydantic's location without the tags of unions, and a dictionary's bad key as the dictionary."""
    path: list[int | str] = []
    current = document.value
    may_be_tag = False
    for index, part in enumerate(location):
        following = location[index + 1 :]
        if part == "[key]":
            continue
        is_tag = isinstance(current, dict) and part in (current.get("kind"), current.get("form"))
        if may_be_tag and is_tag and following and following[0] != "[key]":
            may_be_tag = False
            continue
        path.append(part)
        may_be_tag = True
        if isinstance(current, dict):
            current = current.get(part)
        elif isinstance(current, list) and isinstance(part, int) and part < len(current):
            current = current[part]
        else:
            current = None
    return path


def _model_at(document: Document, path: Location) -> type[BaseModel]:
    """The model that the object at `path` was read as."""
    (model,) = _models_at(document, path)
    return model


def _models_at(document: Document, path: Location) -> list[type[BaseModel]]:
    models: list[type[BaseModel]] = [document.kind]
    current = document.value
    for part in path:
        if isinstance(part, str):
            models = _models_in(models[0].model_fields[part].annotation)
        current = current[part]
        if isinstance(current, dict) and len(models) > 1:
            models = [model for model in models if _is_tagged(model, current)] or models
    return models


def _is_tagged(model: type[BaseModel], value: dict[str, Any]) -> bool:
    return any(
        tag in model.model_fields and value.get(tag) in get_args(model.model_fields[tag].annotation)
        for tag in ("kind", "form")
    )


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Annotated, Union, UnionType, tuple):
        return [model for inner in get_args(annotation) for model in _models_in(inner)]
    return []


def _kinds(document: Document, path: Location, tag: str) -> str:
    models = _models_at(document, path)
    return ", ".join(word for model in models for word in get_args(model.model_fields[tag].annotation))
