"""How a recipe speaks: its errors in one line each, and its commented TOML."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import tomli_w
from pydantic import BaseModel

_NEAR = 200
"""Letters of a name that is compared with others: finding likenesses takes the square of them."""


def nearest(text: str, names: Iterable[str]) -> str:
    """``; did you mean NAME?``, or nothing when no name is near."""
    known = [name for name in names if len(name) <= _NEAR]
    found = difflib.get_close_matches(text, known, n=1, cutoff=0.6) if len(text) <= _NEAR else []
    return f"; did you mean {found[0]}?" if found else ""


def printable(text: str, longest: int = 1000) -> str:
    """A text on one line: what cannot be printed (a line break in a field's name, say) is escaped, what is long is cut."""
    text = text if len(text) <= longest else f"{text[: longest - 3]}..."
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def shown(value: Any, longest: int = 60) -> str:
    """A value as Python writes it, cut. What is nested or long beyond all measure is named by its kind."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # numbers of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def section_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The model of a section, or nothing when it is not one."""
    field = model.model_fields.get(name)
    annotation = field.annotation if field else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def field_names(model: type[BaseModel]) -> list[str]:
    """Every field as ``section.field``."""
    found = []
    for name in model.model_fields:
        section = section_of(model, name)
        found += [f"{name}.{field}" for field in section.model_fields] if section else [name]
    return found


def explain(problem: Mapping[str, Any], model: type[BaseModel]) -> str:
    """One of pydantic's errors in one line: field, what was found, what is allowed."""
    kind, place, found = problem["type"], [str(part) for part in problem["loc"]], problem["input"]
    name = ".".join(place[:2])
    if kind == "extra_forbidden":
        return f"{name}: unknown field{_nearest_field(place, model)}"
    if section_of(model, name):
        return f"{name} = {shown(found)}: must be a section of fields"
    allowed = _allowed(model, place[:2])
    return f"{name} = {shown(found)}: must be {allowed or problem['msg'].removeprefix('Input should be ')}"


def to_toml(values: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Nested values as TOML, each field under its help."""
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    blocks = [tomli_w.dumps(plain)]
    for name, inner in values.items():
        section = section_of(model, name)
        if section is None:
            continue
        lines = [f"# {' '.join((section.__doc__ or '').split())}", f"[{name}]"]
        for field, value in inner.items():
            text = " ".join((section.model_fields[field].description or "").replace("``", "").split())
            lines += textwrap.wrap(text, 112, initial_indent="# ", subsequent_indent="# ")
            lines.append(tomli_w.dumps({field: value}, multiline_strings=False).replace("\n", " ").strip())
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _nearest_field(place: list[str], model: type[BaseModel]) -> str:
    section = section_of(model, place[0])
    if section is not None and len(place) > 1:
        hint = nearest(place[1], section.model_fields)
        if hint:
            return hint.replace("did you mean ", f"did you mean {place[0]}.")
        elsewhere = [name for name in field_names(model) if name.endswith(f".{place[1]}")]
        if elsewhere:
            return f"; did you mean {elsewhere[0]}?"
        return f"; [{place[0]}] has {', '.join(section.model_fields)}"
    elsewhere = [name for name in field_names(model) if name.endswith(f".{place[0]}")]
    if elsewhere:
        return f"; did you mean {elsewhere[0]}?"
    return nearest(place[0], [*model.model_fields, *field_names(model)])


def _allowed(model: type[BaseModel], place: list[str]) -> str:
    """What a field takes, read from its JSON schema, so that the sentence is always true."""
    section = section_of(model, place[0])
    if section is None or len(place) < 2 or place[1] not in section.model_fields:
        return ""
    return _describe(section.model_json_schema()["properties"][place[1]])


def _describe(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_describe(part) for part in schema["anyOf"] if part.get("type") != "null")
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    if schema.get("type") == "array":
        least, most = schema.get("minItems", 0), schema.get("maxItems", "any number of")
        return f"a list of {least} to {most} values, each {_describe(schema['items'])}"
    if "pattern" in schema:
        return "auto, cpu, mps, cuda or cuda:N" if "cuda" in schema["pattern"] else f"of the form {schema['pattern']}"
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    kind = {"integer": "a whole number", "number": "a number", "string": "a text"}.get(schema.get("type", ""), "")
    if low is None or high is None:
        return kind
    over = "over " if "exclusiveMinimum" in schema else ""
    under = "under " if "exclusiveMaximum" in schema else ""
    return f"{kind} from {over}{low} to {under}{high}"
