"""Requests to tensor_zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.serve.wire import Cases

JSON = {"content-type": "application/json"}
ROWS = [{"a": 1, "b": 2.5}, {"a": 3, "b": None}]

CASES: Cases = {
    "ints": {"path": "/double", "json": {"x": [1, 2, 3]}},
    "floats": {"path": "/double", "json": {"x": [[1.5, -2.25], [1e-7, 1e20]]}},
    "scalar": {"path": "/double", "json": {"x": 4}},
    "empty": {"path": "/double", "json": {"x": []}},
    "bools": {"path": "/double", "json": {"x": [True, False]}},
    "strings": {"path": "/double", "json": {"x": ["a"]}},
    "ragged": {"path": "/double", "json": {"x": [[1, 2], [3]]}},
    "null": {"path": "/double", "json": {"x": None}},
    "object": {"path": "/double", "json": {"x": {"a": 1}}},
    "missing": {"path": "/double", "json": {}},
    "NaN in": {"path": "/double", "body": b'{"x": [NaN, 1]}', "headers": JSON},
    "NaN out": {"path": "/holes", "json": {}},
    "beyond 64 bits": {"path": "/double", "json": {"x": [2**70]}},
    "broken JSON": {"path": "/double", "body": b'{"x": [1,', "headers": JSON},
    "dtype and shape": {"path": "/square", "json": {"x": [[1, 2], [3, 4]]}},
    "flat becomes the shape": {"path": "/square", "json": {"x": [1, 2, 3, 4]}},
    "wrong size": {"path": "/square", "json": {"x": [1, 2, 3]}},
    "wrong dtype": {"path": "/square", "json": {"x": [["a", "b"], ["c", "d"]]}},
    "rounding to float32": {"path": "/square", "json": {"x": [[0.1, 0.2], [0.3, 0.4]]}},
    "int8": {"path": "/dtype", "json": {"x": [[1, 2]]}},
    "int8 overflow": {"path": "/dtype", "json": {"x": [300]}},
    "int8 from floats": {"path": "/dtype", "json": {"x": [1.7]}},
    "bool dtype": {"path": "/flags", "json": {"x": [1, 0]}},
    "open shape": {"path": "/reshaped", "json": {"x": [1, 2, 3, 4, 5, 6]}},
    "two arrays": {"path": "/total", "json": {"x": [1, 2], "y": [[3]], "scale": 0.5}},
    "one array wrong": {"path": "/total", "json": {"x": [1, 2]}},
    "by form": {"path": "/total", "form": {"x": "[1, 2]", "y": "[3]"}},
    "root": {"path": "/array_root", "json": [1, 2, 3]},
    "root empty body": {"path": "/array_root"},
    "root object": {"path": "/array_root", "json": {"x": [1]}},
    "float64 scalars": {"path": "/scalars", "json": {}},
    "numpy scalar": {"path": "/numpy_scalar", "json": {}},
    "with a model": {"path": "/labelled", "json": {"x": [1, 2], "label": {"label": "l"}}},
    "with a wrong model": {"path": "/labelled", "json": {"x": [1, 2], "label": {}}},
    "frame": {"path": "/frame", "json": {"df": ROWS}},
    "frame by columns": {"path": "/frame", "json": {"df": {"a": [1, 2], "b": ["x", "y"]}}},
    "frame empty": {"path": "/frame", "json": {"df": []}},
    "frame of a number": {"path": "/frame", "json": {"df": 5}},
    "frame uneven": {"path": "/frame", "json": {"df": {"a": [1, 2], "b": [1]}}},
    "frame missing": {"path": "/frame", "json": {}},
    "frame columns": {"path": "/columns", "json": {"df": {"a": [1], "b": [2], "c": [3]}}},
    "frame columns lacking": {"path": "/columns", "json": {"df": {"a": [1]}}},
    "frame columns from rows": {"path": "/columns", "json": {"df": [[1, 2], [3, 4]]}},
    "frame root": {"path": "/frame_root", "json": ROWS},
    "frame and a word": {"path": "/summary", "json": {"df": ROWS, "name": "n"}},
    "docs": {"path": "/docs.json", "method": "GET"},
    "schema": {"path": "/schema.json", "method": "GET"},
}
