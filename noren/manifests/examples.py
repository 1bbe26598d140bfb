"""An example request from a JSON Schema: the one its author wrote, or else one made up from the types."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_MADE_UP: Mapping[str, object] = {
    "string": "example",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "null": None,
}
_FILES = ("binary", "image", "audio", "video", "file", "tensor")
_MAX_DEPTH = 8  # a schema that refers to itself ends here
_MAX_LOOKS = 2_000  # at schemas within the schema: eight levels of ten fields that refer back would be 100,000,000
_MAX_PARTS = 10_000  # of an example: a list may ask for any number of items


@dataclass(frozen=True, slots=True)
class Example:
    """A value; `synthetic` when some part of it is of our own making."""

    value: object
    synthetic: bool = False
    parts: int = field(default=1, compare=False)  # how many values it consists of


def example(schema: Mapping[str, Any]) -> Example | None:
    """An example of the schema (JSON Schema 2020-12, as pydantic writes it); None for files and streams."""
    return _example(schema, _Search(schema.get("$defs") or {}), 0)


@dataclass(slots=True)
class _Search:
    """What a reference may mean, and how often we go on looking."""

    defs: Mapping[str, Any]
    looks: int = _MAX_LOOKS


def _example(schema: Mapping[str, Any], search: _Search, depth: int) -> Example | None:
    search.looks -= 1
    if search.looks < 0 or depth > _MAX_DEPTH or schema.get("format") in _FILES:
        return None
    if reference := schema.get("$ref"):
        return _example(search.defs.get(str(reference).rpartition("/")[2], {}), search, depth + 1)
    if schema.get("examples"):
        return Example(schema["examples"][0])
    for word in ("example", "default", "const"):
        if word in schema:
            return Example(schema[word])
    if schema.get("enum"):
        return Example(schema["enum"][0])
    for word in ("anyOf", "oneOf", "allOf"):
        for choice in schema.get(word) or []:
            if made := _example(choice, search, depth + 1):
                return made
    return _of_type(schema, search, depth)


def _of_type(schema: Mapping[str, Any], search: _Search, depth: int) -> Example | None:
    match schema.get("type"):
        case "object":
            return _object(schema, search, depth)
        case "array":
            item, count = _example(schema.get("items") or {}, search, depth + 1), max(1, int(schema.get("minItems", 1)))
            if item is None or item.parts * count > _MAX_PARTS:
                return None
            return Example([item.value] * count, item.synthetic, item.parts * count)
        case str() as kind if kind in _MADE_UP:
            return Example(_MADE_UP[kind], synthetic=True)
        case _:
            return Example({}, synthetic=True)


def _object(schema: Mapping[str, Any], search: _Search, depth: int) -> Example | None:
    """All required fields, and the optional ones that come with an example.

    What has a default is left to the service: a default that changes from one version to the next would else be sent
    to both, and their answers be the same.
    """
    value: dict[str, object] = {}
    synthetic, parts = False, 1
    required = schema.get("required") or []
    for name, part in (schema.get("properties") or {}).items():
        if name not in required and "default" in part and not part.get("examples"):
            continue
        made = _example(part, search, depth + 1)
        if made is None:
            if name in required:
                return None
            continue
        if name in required or not made.synthetic:
            value[name] = made.value
            synthetic |= made.synthetic
            parts += made.parts
    return Example(value, synthetic, parts) if parts <= _MAX_PARTS else None
