"""Requests to batch_zoo."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from tests.serve.wire import Cases

_buffer = io.BytesIO()
Image.new("RGB", (3, 2)).save(_buffer, format="PNG")
PNG = _buffer.getvalue()

CASES: Cases = {
    "strings": {"path": "/lengths", "json": {"texts": ["a", "bb"]}},
    "strings: one": {"path": "/lengths", "json": {"texts": ["a"]}},
    "strings: none": {"path": "/lengths", "json": {"texts": []}},
    "strings: 100": {"path": "/lengths", "json": {"texts": ["x"] * 100}},
    "strings: 250, more than a batch": {"path": "/lengths", "json": {"texts": [str(n) for n in range(250)]}},
    "strings wrong": {"path": "/lengths", "json": {"texts": ["a", 5]}},
    "strings missing": {"path": "/lengths", "json": {}},
    "strings by form": {"path": "/lengths", "form": {"texts": '["a"]'}},
    "broken JSON": {"path": "/lengths", "body": b'{"texts": ['},
    "beside others": {
        "path": "/lengths",
        "json": {"texts": ["mine"]},
        "beside": [{"path": "/lengths", "json": {"texts": ["o" * n]}} for n in range(5)],
    },
    "async": {"path": "/shout", "json": {"texts": ["a", "b"]}},
    "async: more than a batch": {"path": "/shout", "json": {"texts": list("abcdefghi")}},
    "models": {"path": "/judge", "json": {"reviews": [{"text": "a"}, {"text": "b", "stars": 1}]}},
    "models wrong": {"path": "/judge", "json": {"reviews": [{"text": "a"}, {"stars": 1}]}},
    "array": {"path": "/double", "json": {"x": [[1, 2], [3, 4]]}},
    "array: more than a batch": {"path": "/double", "json": {"x": [[n] for n in range(150)]}},
    "array scalar": {"path": "/double", "json": {"x": 5}},
    "array empty": {"path": "/double", "json": {"x": []}},
    "array ragged": {"path": "/double", "json": {"x": [[1], [2, 3]]}},
    "array of columns": {"path": "/columns", "json": {"x": [[1, 2], [3, 4]]}},
    "array without columns": {"path": "/columns", "json": {"x": [1, 2]}},
    "frame": {"path": "/frame", "json": {"df": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}},
    "frame lacks a column": {"path": "/frame", "json": {"df": [{"a": 1}]}},
    "images": {"path": "/sizes", "parts": [("images", "a.png", PNG, "image/png")] * 3},
    "image: one": {"path": "/sizes", "parts": [("images", "a.png", PNG, "image/png")]},
    "images wrong": {"path": "/sizes", "parts": [("images", "a.png", b"x", "image/png")]},
    "root": {"path": "/root", "json": [1, 2, 3]},
    "root wrong": {"path": "/root", "json": {"numbers": [1]}},
    "context": {"path": "/with_context", "json": {"texts": ["a"]}},
    "raises": {"path": "/parity", "json": {"numbers": [1, 13]}},
    "does not raise": {"path": "/parity", "json": {"numbers": [1, 2]}},
    "too few results": {"path": "/too_few", "json": {"numbers": [1, 2, 3]}},
    "two arguments": {"path": "/two_arguments", "json": {"a": [1], "b": [2]}},
    "docs": {"path": "/docs.json", "method": "GET"},
    "schema": {"path": "/schema.json", "method": "GET"},
}
