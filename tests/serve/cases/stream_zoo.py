"""Requests to stream_zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.serve.wire import Cases

POST_ENDLESS = b"POST /endless HTTP/1.1\r\nHost: zoo\r\nContent-Length: 0\r\n\r\n"
POST_WORDS = b"POST /words HTTP/1.%d\r\nHost: zoo\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

CASES: Cases = {
    "words": {"path": "/words", "json": {}},
    "words sync": {"path": "/words_sync", "json": {"text": "ü b"}},
    "words wrong": {"path": "/words", "json": {"text": 5}},
    "words sync wrong": {"path": "/words_sync", "json": {"text": 5}},
    "words by form": {"path": "/words", "form": {"text": "x y"}},
    "words GET": {"path": "/words", "method": "GET"},
    "slowly": {"path": "/slowly", "json": {"n": 2, "pause": 0.05}},
    "slowly sync": {"path": "/slowly_sync", "json": {"n": 2, "pause": 0.05}},
    "bytes": {"path": "/raw", "json": {}},
    "models": {"path": "/tokens", "json": {}},
    "models sync": {"path": "/tokens_sync", "json": {}},
    "numbers": {"path": "/numbers", "json": {}},
    "mixed": {"path": "/mixed", "json": {}},
    "empty": {"path": "/empty", "json": {}},
    "empty sync": {"path": "/empty_sync", "json": {}},
    "events": {"path": "/events", "json": {}},
    "with a context": {"path": "/headed", "json": {}},
    "1 MB": {"path": "/big", "json": {}},
    "chunks on the wire": {"path": "", "raw": [POST_WORDS % 1]},
    "HTTP 1.0": {"path": "", "raw": [POST_WORDS % 0]},
    "beside others": {
        "path": "/slowly_sync",
        "json": {"n": 1, "pause": 0},
        "beside": [{"path": "/slowly_sync", "json": {}}] * 2,
    },
    "a guest who leaves closes the generator": [
        {"path": "", "raw": [POST_ENDLESS], "hang_up": True},
        {"path": "/closings", "json": {}, "until": "1"},
    ],
    "docs": {"path": "/docs.json", "method": "GET"},
    "schema": {"path": "/schema.json", "method": "GET"},
}
