"""Requests to the shop's own service."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.serve.wire import Cases

JSON = {"content-type": "application/json"}

CASES: Cases = {
    "one": {"path": "/predict", "json": {"text": "great fun"}},
    "one bad": {"path": "/predict", "json": {"text": "awful, dull"}},
    "one long": {"path": "/predict", "json": {"text": "great " * 3333}},
    "one blank": {"path": "/predict", "json": {"text": " "}},
    "one empty": {"path": "/predict", "json": {"text": ""}},
    "one too long": {"path": "/predict", "json": {"text": "x" * 20_001}},
    "one number": {"path": "/predict", "json": {"text": 5}},
    "one missing": {"path": "/predict", "json": {}},
    "one extra": {"path": "/predict", "json": {"text": "a", "colour": "red"}},
    "surrogate": {"path": "/predict", "body": b'{"text": "\\ud800"}', "headers": JSON},
    "broken": {"path": "/predict", "body": b'{"text": ', "headers": JSON},
    "no UTF-8": {"path": "/predict", "body": b'{"text": "\xff"}', "headers": JSON},
    "empty body": {"path": "/predict"},
    "no content type": {"path": "/predict", "body": b'{"text": "great"}'},
    "form": {"path": "/predict", "form": {"text": "great"}},
    "text": {"path": "/predict", "body": b"great", "headers": {"content-type": "text/plain"}},
    "pickle": {"path": "/predict", "body": b"x", "headers": {"content-type": "application/vnd.bentoml+pickle"}},
    "said to be too large": {
        "path": "",
        "raw": [
            b"POST /predict HTTP/1.1\r\nHost: zoo\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: 67108865\r\n\r\n"
        ],
    },
    "GET": {"path": "/predict", "method": "GET"},
    "batch": {"path": "/predict_batch", "json": {"texts": ["great fun", "awful film"]}},
    "batch of 256": {"path": "/predict_batch", "json": {"texts": ["great fun", "awful film"] * 128}},
    "batch of 257": {"path": "/predict_batch", "json": {"texts": ["a"] * 257}},
    "batch of none": {"path": "/predict_batch", "json": {"texts": []}},
    "batch with a blank": {"path": "/predict_batch", "json": {"texts": ["a", ""]}},
    "batch of numbers": {"path": "/predict_batch", "json": {"texts": [1]}},
    "batch beside others": {
        "path": "/predict_batch",
        "json": {"texts": ["great", "awful"]},
        "beside": [{"path": "/predict_batch", "json": {"texts": ["film"] * n}} for n in range(1, 5)],
    },
    "livez": {"path": "/livez", "method": "GET"},
    "readyz": {"path": "/readyz", "method": "GET"},
    "index": {"path": "/", "method": "GET"},
    "docs": {"path": "/docs.json", "method": "GET"},
    "schema": {"path": "/schema.json", "method": "GET"},
}
