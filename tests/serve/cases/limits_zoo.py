"""Requests to limits_zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.serve.wire import Cases

CASES: Cases = {
    "in time": {"path": "/v1/nap", "json": {"seconds": 0.01}},
    "too late": {"path": "/v1/nap", "json": {"seconds": 5}},
    "too late sync": {"path": "/v1/nap_sync", "json": {"seconds": 5}},
    "wrong input": {"path": "/v1/nap", "json": {"seconds": "x"}},
    "a stream may take longer": {"path": "/v1/stream", "json": {}},
    "a stream that starts too late": {"path": "/v1/late_stream", "json": {}},
    "a body that comes too slowly": {
        "path": "/v1/nap",
        "headers": {"content-type": "application/json"},
        "chunks": [b" "] * 80 + [b"{}"],
    },
    "one beside": {"path": "/v1/nap", "json": {"seconds": 0}, "beside": [{"path": "/v1/nap", "json": {}}]},
    "two beside": {"path": "/v1/nap", "json": {"seconds": 0}, "beside": [{"path": "/v1/nap", "json": {}}] * 2},
    "two sync beside": {"path": "/v1/nap_sync", "json": {}, "beside": [{"path": "/v1/nap_sync", "json": {}}] * 2},
    "livez beside two": {"path": "/v1/livez", "method": "GET", "beside": [{"path": "/v1/nap", "json": {}}] * 2},
    "livez without the prefix": {"path": "/livez", "method": "GET", "beside": [{"path": "/v1/nap", "json": {}}] * 2},
    "metrics beside two": {"path": "/metrics", "method": "GET", "beside": [{"path": "/v1/nap", "json": {}}] * 2},
    "index beside two": {"path": "/v1/", "method": "GET", "beside": [{"path": "/v1/nap", "json": {}}] * 2},
    "and again": {"path": "/v1/nap", "json": {"seconds": 0}},
    "prefix": {"path": "/v1/livez", "method": "GET"},
    "prefix readyz": {"path": "/v1/readyz", "method": "GET"},
    "no prefix": {"path": "/nap", "json": {}},
    "prefix alone": {"path": "/v1", "method": "GET"},
    "prefix index": {"path": "/v1/", "method": "GET"},
    "index": {"path": "/", "method": "GET"},
    "prefix static": {"path": "/v1/static_content/index.css", "method": "GET"},
    "prefix docs": {"path": "/v1/docs.json", "method": "GET"},
    "docs": {"path": "/docs.json", "method": "GET"},
    "schema": {"path": "/schema.json", "method": "GET"},
    "prefix schema": {"path": "/v1/schema.json", "method": "GET"},
}
