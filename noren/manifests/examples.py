"""An example request from a JSON Schema: the one its author wrote, or else one made up from the types."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MADE_UP: Mapping[str, object] = {
    "string": "example",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "null": None,
}
_MAX_DEPTH = 8  # a schema that refers to itself ends here


@dataclass(frozen=True, slots=True)
class Example:
    """A value; `synthetic` when some part of it is of our own making."""

    value: object
    synthetic: bool = False


def example(schema: Mapping[str, Any]) -> Example | None:
    """An example of the schema (JSON Schema 2020-12, as pydantic writes it); None for files and streams."""
    return _example(schema, schema.get("$defs") or {}, 0)


def _example(schema: Mapping[str, Any], defs: Mapping[str, Any], depth: int) -> Example | None:
    if depth > _MAX_DEPTH or schema.get("format") in ("binary", "image", "audio", "video", "file", "tensor"):
        return None
    if reference := schema.get("$ref"):
        return _example(defs.get(str(reference).rpartition("/")[2], {}), defs, depth + 1)
    if schema.get("examples"):
        return Example(schema["examples"][0])
    for word in ("example", "default", "const"):
        if word in schema:
            return Example(schema[word])
    if schema.get("enum"):
        return Example(schema["enum"][0])
    for word in ("anyOf", "oneOf", "allOf"):
        for choice in schema.get(word) or []:
            if made := _example(choice, defs, depth + 1):
                return made
    return _of_type(schema, defs, depth)


def _of_type(schema: Mapping[str, Any], defs: Mapping[str, Any], depth: int) -> Example | None:
    match schema.get("type"):
        case "object":
            return _object(schema, defs, depth)
        case "array":
            item = _example(schema.get("items") or {}, defs, depth + 1)
            if item is None:
                return None
            return Example([item.value] * max(1, int(schema.get("minItems", 1))), item.synthetic)
        case str() as kind if kind in _MADE_UP:
            return Example(_MADE_UP[kind], synthetic=True)
        case _:
            return Example({}, synthetic=True)


def _object(schema: Mapping[str, Any], defs: Mapping[str, Any], depth: int) -> Example | None:
    """All required fields, and the optional ones that come with an example.

    What has a default is left to the service: a default that changes from one version to the next would else be sent
    to both, and their answers be the same.
    """
    value: dict[str, object] = {}
    synthetic = False
    required = schema.get("required") or []
    for name, field in (schema.get("properties") or {}).items():
        if name not in required and "default" in field and not field.get("examples"):
            continue
        made = _example(field, defs, depth + 1)
        if made is None:
            if name in required:
                return None
            continue
        if name in required or not made.synthetic:
            value[name] = made.value
            synthetic |= made.synthetic
    return Example(value, synthetic)
