"""An example request from a schema, as pydantic and BentoML write them."""

from typing import Any

import pytest

from noren.manifests.examples import Example, example

MADE_UP = True

TABLE: dict[str, tuple[dict[str, Any], Example | None]] = {
    "an author's example": ({"type": "string", "examples": ["a", "b"]}, Example("a")),
    "an example of a falsy value": ({"type": "integer", "examples": [0]}, Example(0)),
    "OpenAPI's older word": ({"type": "string", "example": "a"}, Example("a")),
    "a default": ({"type": "string", "default": ""}, Example("")),
    "a default of null": ({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}, Example(None)),
    "a const": ({"const": 3}, Example(3)),
    "an enum": ({"enum": ["x", "y"], "type": "string"}, Example("x")),
    "an example before a default": ({"default": 1, "examples": [2]}, Example(2)),
    "a text": ({"type": "string"}, Example("example", MADE_UP)),
    "an integer": ({"type": "integer"}, Example(1, MADE_UP)),
    "a number": ({"type": "number"}, Example(1.0, MADE_UP)),
    "a truth": ({"type": "boolean"}, Example(True, MADE_UP)),
    "null": ({"type": "null"}, Example(None, MADE_UP)),
    "anything": ({}, Example({}, MADE_UP)),
    "a list": ({"type": "array", "items": {"type": "integer", "examples": [5]}}, Example([5])),
    "a list of at least three": (
        {"type": "array", "items": {"type": "integer"}, "minItems": 3},
        Example([1, 1, 1], MADE_UP),
    ),
    "a list of anything": ({"type": "array"}, Example([{}], MADE_UP)),
    "a list of files": ({"type": "array", "items": {"type": "file", "format": "binary"}}, None),
    "no fields": ({"type": "object", "properties": {}}, Example({})),
    "required and optional fields": (
        {
            "type": "object",
            "properties": {
                "needed": {"type": "string"},
                "given": {"type": "integer", "default": 4, "examples": [5]},
                "default": {"type": "integer", "default": 4},
                "left out": {"type": "string"},
            },
            "required": ["needed"],
        },
        Example({"needed": "example", "given": 5}, MADE_UP),
    ),
    "only examples": (
        {"type": "object", "properties": {"a": {"type": "string", "examples": ["x"]}}, "required": ["a"]},
        Example({"a": "x"}),
    ),
    "an example of the whole": (
        {"type": "object", "properties": {"a": {"type": "string"}}, "examples": [{"a": "whole"}]},
        Example({"a": "whole"}),
    ),
    "a reference": (
        {"$ref": "#/$defs/Review", "$defs": {"Review": {"type": "string", "examples": ["good"]}}},
        Example("good"),
    ),
    "a reference inside": (
        {
            "type": "object",
            "properties": {"reviews": {"type": "array", "items": {"$ref": "#/$defs/Review"}}},
            "required": ["reviews"],
            "$defs": {
                "Review": {"type": "object", "properties": {"text": {"$ref": "#/$defs/Text"}}, "required": ["text"]},
                "Text": {"type": "string", "examples": ["good"]},
            },
        },
        Example({"reviews": [{"text": "good"}]}),
    ),
    "a reference to nothing": ({"$ref": "#/$defs/Nosuch"}, Example({}, MADE_UP)),
    "a choice": ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, Example(1, MADE_UP)),
    "a choice of which the first is a file": (
        {"anyOf": [{"type": "file", "format": "binary"}, {"type": "string", "examples": ["url"]}]},
        Example("url"),
    ),
    "one of": ({"oneOf": [{"const": "a"}, {"const": "b"}]}, Example("a")),
    "all of": ({"allOf": [{"type": "string", "examples": ["a"]}]}, Example("a")),
    "a file": ({"type": "file", "format": "binary"}, None),
    "an image": ({"type": "file", "format": "image"}, None),
    "a tensor": ({"type": "tensor", "format": "tensor"}, None),
    "a required file": (
        {"type": "object", "properties": {"f": {"type": "file", "format": "binary"}}, "required": ["f"]},
        None,
    ),
    "an optional file": (
        {
            "type": "object",
            "properties": {"f": {"type": "file", "format": "binary"}, "t": {"type": "string"}},
            "required": ["t"],
        },
        Example({"t": "example"}, MADE_UP),
    ),
}


@pytest.mark.parametrize(("schema", "made"), TABLE.values(), ids=TABLE)
def test_the_table_of_schemas(schema: dict[str, Any], made: Example | None) -> None:
    assert example(schema) == made


NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}, "required": ["next"]}


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    assert example({"$ref": "#/$defs/Node", "$defs": {"Node": NODE}}) is None
    assert example({"$ref": "#/$defs/Node", "$defs": {"Node": {"$ref": "#/$defs/Node"}}}) is None


def test_a_tree_whose_branches_are_optional_has_an_example() -> None:
    branches = {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}
    node = {"type": "object", "properties": {"left": branches, "right": branches, "v": {"const": 1}}, "required": ["v"]}
    made = example({"$ref": "#/$defs/Node", "$defs": {"Node": node}})
    assert made
    assert isinstance(made.value, dict)
    assert made.value["v"] == 1
